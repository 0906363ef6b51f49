"""Which images a student sees, and how."""

import numpy as np
from jaxtyping import Int32

from jkd import data
from jkd.data import Dataset
from jkd.data.lessons import Lessons, attended
from jkd.errors import UserError
from jkd.methods import Method
from jkd.planning.experiment import Experiment
from jkd.planning.settings import Data
from jkd.training.step import Augmentation


def augmentation_of(spec: Data, dataset: Dataset) -> Augmentation:
    """Returns how images become what the networks see: as the settings say, else as suits the data set."""
    return Augmentation(
        crop_padding=dataset.padding if spec.crop else 0,
        flip=dataset.flip if spec.flip is None else spec.flip,
        mean=dataset.mean if spec.standardise else (0.0, 0.0, 0.0),
        std=dataset.std if spec.standardise else (1.0, 1.0, 1.0),
    )


Indices = Int32[np.ndarray, " images"]


def split(
    experiment: Experiment, dataset: Dataset, method: Method, lessons: Lessons
) -> tuple[Indices, Indices, float]:
    """Returns the training images that the student sees, those held out, and the fraction that these are.

    Raises:
        UserError: a batch needs more images than there are, or lessons name a class that there is not.
    """
    level = method.upper_level
    from_student = level is not None and level.memory is None  # its outer loss is on images held out
    fraction = experiment.data.held_out if from_student or method.prepare is not None else 0.0
    kept, rest = data.stratified_split(dataset.train_labels, fraction, experiment.student.seed)
    if not from_student:  # what is held out of the preparation alone, the student may see
        kept = np.arange(len(dataset.train_labels), dtype=np.int32)
    kept = kept[attended(dataset.train_labels[kept], lessons, dataset.num_classes)]
    batch_size = experiment.recipe.batch_size
    if batch_size > len(kept):
        raise UserError(
            f"--batch-size={batch_size} is more than the {len(kept)} training images; "
            "it can be that many at most"
        )
    return kept, rest, fraction
