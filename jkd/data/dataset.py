"""A data set in memory, and the checks that every source of images shares."""

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Int32

from jkd.data.streamed import Images, Streamed
from jkd.data.survey import Counts, count_values, survey
from jkd.errors import UserError
from jkd.provenance import fingerprint

Channels = tuple[float, float, float]
Part = tuple[Images, np.ndarray]  # images and their labels

# Published per-channel means and standard deviations of the training images, as the recipes compared with use
# them.
_PUBLISHED = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}

# A mirrored digit or letter is another one, or none. Clothes may be mirrored.
_WRITTEN = ("digits", "mnist", "svhn", "omniglot", "cmaterdb")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Training, test and perhaps validation images with labels, and how to feed them to a network.

    Attributes:
        name: The specification it was loaded from, such as `cifar100` or `npz:PATH`, or the name of the
            user's own arrays.
        train_images: Training images, 0 to 255: in memory, or to be read when they are needed (so are the
            others then).
        train_labels: Their classes, 0 to `num_classes - 1`.
        test_images: Test images, of the same size.
        test_labels: Their classes.
        num_classes: Number of classes.
        class_names: Their names in the order of the labels, where known.
        mean: Mean of each channel, in units of [0, 1]: the published constants for `cifar10` and `cifar100`,
            else of the training images.
        std: Standard deviation of each channel, likewise.
        flip: Whether mirroring keeps an image's class, as far as can be told from the name: not for digits
            and letters.
        padding: Padding of the random crop in pixels: one eighth of the image's size, which is the CIFAR
            recipe's 4 for 32.
        validation_images: Images of the same size to choose on (an epoch, hyperparameters), so that the test
            images are looked at once; None where there are none.
        validation_labels: Their classes; None where there are none.
        notes: What a run should say of the data set, each in one line: a part that was drawn, or that stands
            in for another.
    """

    name: str
    train_images: Images
    train_labels: Int32[np.ndarray, " train"]
    test_images: Images
    test_labels: Int32[np.ndarray, " test"]
    num_classes: int
    class_names: tuple[str, ...] | None
    mean: Channels
    std: Channels
    flip: bool
    padding: int
    validation_images: Images | None = None
    validation_labels: Int32[np.ndarray, " validation"] | None = None
    notes: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digits that stand for the images and labels; where these are streamed, the same."""
        return survey(self.name, self._parts).fingerprint if self.streamed else fingerprint(self._parts)

    @property
    def streamed(self) -> bool:
        """Whether its images are read when they are needed."""
        return isinstance(self.train_images, Streamed)

    @property
    def statistics(self) -> tuple[Channels, Channels]:
        """Mean and standard deviation of each channel of the training images, in units of [0, 1]."""
        counted = survey(self.name, self._parts).counts if self.streamed else count_values(self.train_images)
        return _channel_statistics(counted)

    @property
    def _parts(self) -> tuple[Any, ...]:
        parts = (self.train_images, self.train_labels, self.test_images, self.test_labels)
        # Only where there is such a part: a data set without keeps the digits that folders of runs carry.
        validation = (self.validation_images, self.validation_labels)
        return parts if self.validation_images is None else parts + validation


def assemble(
    name: str,
    train: Part,
    test: Part,
    class_names: tuple[str, ...] | None = None,
    num_classes: int | None = None,
    *,
    validation: Part | None = None,
    flip: bool | None = None,
    notes: tuple[str, ...] = (),
) -> Dataset:
    """Checks labels and fills in what follows from the images.

    Args:
        name: The specification, which begins the message of every error.
        train: Training images (uint8, `[N, H, W, 3]`) and labels (integers, `[N]`).
        test: Test images of the same size, and labels.
        class_names: Names of the classes, where known.
        num_classes: Number of classes where the source declares it. Otherwise it is taken from the training
            labels, and each class must then have a training example.
        validation: Validation images of the same size, and labels, where there are any.
        flip: Whether mirroring keeps an image's class; None guesses from the name.
        notes: What a run should say of the data set.

    Returns:
        The data set.

    Raises:
        UserError: As `check_parts` does.
    """
    (train_images, train_labels), (test_images, test_labels) = train, test
    validation_images, validation_labels = validation or (None, None)
    parts = {"training": train, "test": test} | ({"validation": validation} if validation else {})
    num_classes = check_parts(
        name,
        {part: (images.shape[1:3], labels) for part, (images, labels) in parts.items()},
        class_names,
        num_classes,
    )
    size = min(train_images.shape[1:3])
    found = Dataset(
        name=name,
        train_images=train_images,
        train_labels=train_labels.astype(np.int32),
        test_images=test_images,
        test_labels=test_labels.astype(np.int32),
        num_classes=num_classes,
        class_names=class_names,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        flip=not _is_written(name) if flip is None else flip,
        padding=max(1, round(size / 8)),
        validation_images=validation_images,
        validation_labels=None if validation_labels is None else validation_labels.astype(np.int32),
        notes=notes,
    )
    mean, std = _PUBLISHED.get(name.partition(":")[0]) or found.statistics
    return dataclasses.replace(found, mean=mean, std=std)


def check_parts(
    name: str,
    parts: Mapping[str, tuple[tuple[int, ...], np.ndarray]],
    class_names: tuple[str, ...] | None = None,
    num_classes: int | None = None,
) -> int:
    """Checks that the parts of a data set fit each other, without looking at an image.

    Args:
        name: As for `assemble`.
        parts: For `training`, `test` and perhaps `validation`: height and width of the images, and labels
            (integers, `[N]`).
        class_names: As for `assemble`.
        num_classes: As for `assemble`.

    Returns:
        The number of classes.

    Raises:
        UserError: A part is empty, sizes differ, a label is negative, too great, or not among the training
            labels, or the number of names is not that of the classes.
    """
    train_size, train_labels = parts["training"]
    for part, (size, labels) in parts.items():
        if len(labels) == 0:
            raise UserError(f"{name}: there are no {part} images; at least one is needed")
        if labels.min() < 0:
            raise UserError(
                f"{name}: {part} label {labels.min()} of image {labels.argmin()} is negative; "
                "labels count from 0"
            )
        if size != train_size:
            sizes = [f"{height}x{width}" for height, width in (train_size, size)]
            raise UserError(
                f"{name}: training images are {sizes[0]} and {part} images {sizes[1]}; give --image-size=N"
            )
    present = np.unique(train_labels)
    if num_classes is None:
        num_classes = int(present[-1]) + 1
        # Not by an array of all classes: a single absurd label would ask for the whole memory.
        missing = np.flatnonzero(present != np.arange(len(present)))
        if len(missing):
            raise UserError(
                f"{name}: training labels go up to {present[-1]} but none is {missing[0]}; "
                "classes must be numbered from 0 without gaps"
            )
    elif present[-1] >= num_classes:
        raise UserError(
            f"{name}: training label {present[-1]} is out of range; there are {num_classes} classes"
        )
    for part, (_, labels) in parts.items():
        unseen = np.flatnonzero(~np.isin(labels, present))
        if len(unseen):
            raise UserError(
                f"{name}: {part} label {labels[unseen[0]]} of image {unseen[0]} is not among "
                f"the training labels ({present[0]} to {present[-1]})"
            )
    if num_classes < 2:
        raise UserError(f"{name}: there is one class; at least two are needed")
    if class_names is not None and len(class_names) != num_classes:
        raise UserError(
            f"{name}: the number of class names is {len(class_names)}; there are {num_classes} classes, "
            "and each needs one, in the order of the labels"
        )
    return num_classes


def _is_written(name: str) -> bool:
    # Of a path only the last part speaks of the images.
    name = name.rpartition("/")[2] if name.startswith(("npz:", "folder:")) else name
    return any(word in name.lower() for word in _WRITTEN) and "fashion" not in name.lower()


def _channel_statistics(counts: Counts) -> tuple[Channels, Channels]:
    shares = counts / counts.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    deviation = np.sqrt(np.maximum(shares @ np.square(values) - np.square(mean), 0))
    # A channel that is the same everywhere tells nothing; it must not divide by zero.
    deviation = np.maximum(deviation, 1 / 255)
    return _channels(mean), _channels(deviation)


def _channels(values: np.ndarray) -> Channels:
    red, green, blue = map(float, values)
    return red, green, blue
