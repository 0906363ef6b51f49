"""Poorer lessons for a teacher: wrong labels, some classes only, grey or coarse training images.

For experiments in which teachers are of unequal worth. Only training images and labels change: a teacher is
tested, and asked, on images as they are.
"""

import dataclasses
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool, Int32, UInt8
from PIL import Image

from jkd.data.dataset import Dataset
from jkd.data.streamed import changed
from jkd.errors import UserError

_STREAM = 3  # of a seed's random numbers; jkd.data.sampling has the first three


@dataclasses.dataclass(frozen=True)
class Lessons:
    """What a teacher is trained on, where that is less than the data set's training images.

    Attributes:
        wrong_labels: Share of every class's training images that get another class's label, drawn evenly
            among the others; 0 to 1.
        classes: First and last class of those whose images it sees; None: all.
        grey: Whether its images have no colour (the luma of ITU-R 601).
        resolution: Its images are scaled down by this factor (areas averaged) and up again (bilinearly);
            above 0, at most 1.
    """

    wrong_labels: float = 0.0
    classes: tuple[int, int] | None = None
    grey: bool = False
    resolution: float = 1.0

    def __post_init__(self) -> None:
        """Checks what can be checked without a data set."""
        if not 0 <= self.wrong_labels <= 1:
            raise UserError(f"wrong-labels={self.wrong_labels:g} must be 0 to 1")
        if not 0 < self.resolution <= 1:
            raise UserError(f"resolution={self.resolution:g} must be above 0 and at most 1")
        if self.classes is not None and not 0 <= self.classes[0] <= self.classes[1]:
            raise UserError(f"classes={self.classes[0]}-{self.classes[1]} must be FIRST-LAST, counted from 0")

    def __str__(self) -> str:
        """Returns them as `--teachers` has them, `wrong-labels=0.4:grey`; nothing where nothing is less."""
        given: dict[str, Any] = {
            "wrong-labels": f"wrong-labels={self.wrong_labels:g}" if self.wrong_labels else "",
            "classes": f"classes={self.classes[0]}-{self.classes[1]}" if self.classes else "",
            "grey": "grey" if self.grey else "",
            "resolution": f"resolution={self.resolution:g}" if self.resolution < 1 else "",
        }
        return ":".join(filter(None, given.values()))


def attended(
    labels: Int32[np.ndarray, " examples"], lessons: Lessons, num_classes: int
) -> Bool[np.ndarray, " examples"]:
    """Returns which training images a teacher sees, by their labels.

    Raises:
        UserError: The data set has fewer classes than the lessons name.
    """
    first, last = lessons.classes or (0, num_classes - 1)
    if last >= num_classes:
        raise UserError(f"classes={first}-{last}: there is no class {last}; there are 0 to {num_classes - 1}")
    return (first <= labels) & (labels <= last)


def taught(dataset: Dataset, lessons: Lessons, seed: int) -> Dataset:
    """Returns a data set with the training images and labels that a teacher is given.

    Images are numbered as before, those that it does not see among them; mean and deviation stay.

    Args:
        dataset: The data set as it is.
        lessons: What is less.
        seed: Seed of the wrong labels.
    """
    if not str(lessons):
        return dataset
    images, labels = dataset.train_images, dataset.train_labels
    if lessons.wrong_labels:
        labels = _wrong(labels, lessons.wrong_labels, dataset.num_classes, seed)
    if lessons.grey:
        images = changed(images, _grey)
    if lessons.resolution < 1:
        images = changed(images, partial(_coarse, resolution=lessons.resolution))
    drawn = f", drawn with seed {seed}" if lessons.wrong_labels else ""
    notes = (*dataset.notes, f"{dataset.name}: the training images are taught as {lessons}{drawn}")
    return dataclasses.replace(dataset, train_images=images, train_labels=labels, notes=notes)


def _wrong(labels: np.ndarray, share: float, num_classes: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng((seed, _STREAM))
    found = labels.copy()
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        members = members[: round(share * len(members))]
        found[members] = (label + generator.integers(1, num_classes, len(members))) % num_classes
    return found


def _grey(
    images: UInt8[np.ndarray, "examples height width 3"],
) -> UInt8[np.ndarray, "examples height width 3"]:
    # Pillow's arithmetic for "L", without a loop over images.
    red, green, blue = (images[..., channel].astype(np.uint32) for channel in range(3))
    luma = ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)
    return np.repeat(luma[..., None], 3, axis=-1)


def _coarse(
    images: UInt8[np.ndarray, "examples height width 3"], resolution: float
) -> UInt8[np.ndarray, "examples height width 3"]:
    height, width = images.shape[1:3]
    small = (max(1, round(resolution * width)), max(1, round(resolution * height)))
    found = np.empty_like(images)
    for index, image in enumerate(images):
        less = Image.fromarray(image).resize(small, Image.Resampling.BOX)
        found[index] = less.resize((width, height), Image.Resampling.BILINEAR)
    return found
