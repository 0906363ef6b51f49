"""What a training is, and what it has of its teachers."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from jkd.data import Dataset
from jkd.methods.asked import Kept
from jkd.steps.task import Task


@dataclasses.dataclass(frozen=True)
class Job:
    """A training: what a step is, on which images, for how long."""

    task: Task
    dataset: Dataset
    seed: int
    train_indices: np.ndarray
    held_out: np.ndarray
    batch_size: int
    epochs: int
    steps_per_call: int | None
    checkpoint_every: int
    eval_batch_size: int
    resized_crop: float | None = None  # least share of a training image's area, where images are streamed
    views: int = 0  # fixed augmentations of each image; 0: always a fresh one

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of a batch of images."""
        return self.batch_size, *self.dataset.train_images.shape[1:]


class Views(NamedTuple):
    """What teachers say of the training images in fixed views.

    `said(view, asked_to_stop)` gives it for all of them, on the host, perhaps memory-mapped, a row for each;
    None if it was asked to stop before that was made. `place` says where it is read from in training.
    """

    number: int
    said: Callable[[int, Callable[[], int]], Kept | None]
    place: str | None = None  # "device", "host" or "file"; None: the first of these that has room


class Taught(NamedTuple):
    """What a training has of its teachers.

    These are their variables (their heads alone, where there are `views`), and the ensemble's logits on the
    test images.
    """

    teachers: tuple[PyTree, ...] = ()
    vote: np.ndarray | None = None
    views: Views | None = None
