"""Which images a network is trained on, and how it sees them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from jkd import data
from jkd.data import Dataset
from jkd.data.lessons import Lessons, attended
from jkd.errors import UserError
from jkd.methods import Method
from jkd.planning.experiment import Experiment
from jkd.planning.settings import Data
from jkd.steps.images import Augmentation
from jkd.teachers.teacher import Teacher

# Of every run, whatever its own seed: what is held out from a teacher must be so for all its students.
_SPLIT_SEED = 0


def augmentation_of(spec: Data, dataset: Dataset) -> Augmentation:
    """Returns how images become what the networks see: as the settings say, else as suits the data set."""
    return Augmentation(
        crop_padding=dataset.padding if spec.crop and spec.resized_crop is None else 0,
        flip=dataset.flip if spec.flip is None else spec.flip,
        mean=dataset.mean if spec.standardise else (0.0, 0.0, 0.0),
        std=dataset.std if spec.standardise else (1.0, 1.0, 1.0),
        # Of streamed images the parts are taken where they are decoded.
        resized_crop=None if dataset.streamed else spec.resized_crop,
    )


Indices = Int32[np.ndarray, " images"]


class Split(NamedTuple):
    """The training images by number: those that a network is trained on, and those held out.

    A student whose method lets probes look at the latter may be trained on them (`--held-out-from=users`).
    """

    trained_on: Indices
    held_out: Indices
    fraction: float  # of each class that is held out

    @property
    def overlaps(self) -> bool:
        """Whether the network is trained on what is held out."""
        return bool(np.isin(self.held_out, self.trained_on).any())


def check_held_out(spec: Data, name: str, method: Method) -> None:
    """Raises UserError where a method lacks the held-out images that it learns from."""
    if method.uses_held_out and not spec.held_out:
        raise UserError(
            f"--held-out=0: {name} learns from images that are held out from training; "
            f"give a fraction above 0, such as {Data.held_out}"
        )


def split(experiment: Experiment, dataset: Dataset, method: Method, lessons: Lessons) -> Split:
    """Returns what a network is trained on, and what is held out.

    Raises:
        UserError: a batch needs more images than there are, or lessons name a class that there is not.
    """
    spec = experiment.data
    from_everyone = spec.held_out_from == "everyone"
    fraction = spec.held_out if from_everyone or method.uses_held_out else 0.0
    kept, rest = data.stratified_split(dataset.train_labels, fraction, _SPLIT_SEED)
    if not (from_everyone or method.trains_on_held_out):
        kept = np.arange(len(dataset.train_labels), dtype=np.int32)
    kept = kept[attended(dataset.train_labels[kept], lessons, dataset.num_classes)]
    batch_size = experiment.recipe.batch_size
    if batch_size > len(kept):
        raise UserError(
            f"--batch-size={batch_size} is more than the {len(kept)} training images; "
            "it can be that many at most"
        )
    return Split(kept, rest, fraction)


def seen_by_teachers(
    dataset: Dataset, parts: Split, method: Method, teachers: Sequence[Teacher]
) -> list[str]:
    """Returns what a run must say of its teachers: which images it judges by they were trained on.

    These are the held-out images, where the method uses them, and those of validation.
    """
    judged = {}
    if method.uses_held_out:
        judged["held-out"] = parts.fraction
    if dataset.validation_images is not None:
        judged["validation"] = 0.0  # part of the fingerprint: never among the training images
    notes = []
    for images, fraction in judged.items():
        saw, unknown = [], []
        for teacher in teachers:
            known = teacher.trained_on
            if known is None or known.fingerprint != dataset.fingerprint:
                unknown.append(teacher.name)
            # Slices are nested: one seed draws an order of each class, and the fraction how far it goes.
            elif known.held_out < fraction:
                saw.append(teacher.name)
        if saw:
            notes.append(f"the {images} images are among those that {', '.join(saw)} learned from")
        if unknown:
            notes.append(f"it is not known whether {', '.join(unknown)} learned from the {images} images")
    return notes
