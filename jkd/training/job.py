"""What a training is, and what it has of its teachers."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import PyTree

from jkd.data import Dataset
from jkd.training.step import Task


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


class Taught(NamedTuple):
    """What a training has of its teachers: variables, and the ensemble's logits on the test images."""

    teachers: tuple[PyTree, ...] = ()
    vote: np.ndarray | None = None
