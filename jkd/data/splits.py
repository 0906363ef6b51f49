"""Parts of a data set that its source does not come with, drawn by seed."""

import dataclasses

import numpy as np
from jaxtyping import Integer

from jkd.data.dataset import Dataset, Part
from jkd.data.sampling import stratified_split
from jkd.data.streamed import Images, select
from jkd.errors import UserError

# Of any data set that comes without a test part, for good: other numbers would be another test.
_TEST_FRACTION, _TEST_SEED = 0.2, 0
TEST_NOTE = f"{100 * _TEST_FRACTION:g} % of each class, drawn with seed {_TEST_SEED}, are the test part"


def split_test(images: Images, labels: Integer[np.ndarray, " examples"]) -> tuple[Part, Part]:
    """Splits a data set that comes without a test part, the same way each time.

    Args:
        images: All images, 0 to 255.
        labels: Their classes.

    Returns:
        Training and test images, each with labels: of every class a fifth is for testing, at least one image.
        `TEST_NOTE` says so.

    Raises:
        UserError: A class has a single image.
    """
    train, test = stratified_split(labels, _TEST_FRACTION, _TEST_SEED)
    return (select(images, train), labels[train]), (select(images, test), labels[test])


def split_validation(dataset: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """Holds a fraction of every class's training images out as the validation part.

    Mean and standard deviation stay those of the data set as it was, so that what was trained on all of it
    sees the images as before.

    Args:
        dataset: A data set without a validation part.
        fraction: Share of the training images to hold out, more than 0 and less than 1. Each class gives its
            own rounded share, but at least one image, and keeps at least one.
        seed: Seed of the draw, 0 or greater.

    Returns:
        The data set with fewer training images and a validation part, and a note that says so.

    Raises:
        UserError: There is a validation part already, `fraction` or `seed` is out of range, or a class has a
            single training image.
    """
    if dataset.validation_images is not None:
        raise UserError(
            f"{dataset.name} has a validation part already, of {len(dataset.validation_images)} images; "
            f"use that one instead of drawing {fraction:g} of its training images"
        )
    if not 0 < fraction < 1:
        raise UserError(f"the validation fraction is {fraction}; it must be more than 0 and less than 1")
    kept, held_out = stratified_split(dataset.train_labels, fraction, seed)
    note = (
        f"{dataset.name}: {100 * fraction:g} % of each class's training images, drawn with seed {seed}, "
        "are the validation part"
    )
    return dataclasses.replace(
        dataset,
        train_images=select(dataset.train_images, kept),
        train_labels=dataset.train_labels[kept],
        validation_images=select(dataset.train_images, held_out),
        validation_labels=dataset.train_labels[held_out],
        notes=(*dataset.notes, note),
    )
