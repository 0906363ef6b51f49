"""What an experiment comes to before it runs: its settings, what they resolve to, and what it is known by."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np

from jkd import data, methods
from jkd.data import Dataset
from jkd.errors import UserError
from jkd.methods import Method
from jkd.planning import settings
from jkd.provenance import fingerprint
from jkd.teachers.stored import Entry, Teacher
from jkd.training.step import Augmentation


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All settings of a run: which method with which hyperparameters, and everything around it."""

    method: str
    hyperparameters: dict[str, Any]
    data: settings.Data
    recipe: settings.Recipe
    teachers: settings.Teachers
    student: settings.Student
    execution: settings.Execution


def augmentation(experiment: Experiment, dataset: Dataset) -> Augmentation:
    """Returns how images become what the networks see: as the settings say, else as suits the data set."""
    spec = experiment.data
    return Augmentation(
        crop_padding=dataset.padding if spec.crop else 0,
        flip=dataset.flip if spec.flip is None else spec.flip,
        mean=dataset.mean if spec.standardise else (0.0, 0.0, 0.0),
        std=dataset.std if spec.standardise else (1.0, 1.0, 1.0),
    )


def epochs(experiment: Experiment) -> int:
    """Returns the passes over the training images: as the settings say, else as suits the data set."""
    default = settings.DIGITS_EPOCHS if experiment.data.dataset == "digits" else settings.PAPER_EPOCHS
    return experiment.recipe.epochs or default


def identity_of(
    experiment: Experiment, dataset: Dataset, entries: list[Entry], given: dict[Entry, Teacher]
) -> dict[str, Any]:
    """Returns everything that decides what is computed: the configuration that a run's folder belongs to."""
    method = methods.create(experiment.method, **experiment.hyperparameters)
    trained = experiment.teachers.teacher_epochs or epochs(experiment)
    listed = [
        {"name": e.name}
        | ({"epochs": trained} if e.path is None else {})
        | ({"weights": fingerprint(given[e].variables)} if e in given else {})
        for e in entries
    ]
    return {
        "method": experiment.method,
        "hyperparameters": experiment.hyperparameters,
        "student": experiment.student.student,
        "seed": experiment.student.seed,
        "teachers": listed,
        "dataset": {
            # Not where it lies: the same images elsewhere are the same data set.
            "name": Path(dataset.name).name,
            "fingerprint": dataset.fingerprint,
            "num_classes": dataset.num_classes,
            "image_size": list(dataset.train_images.shape[1:3]),
            "held_out": held_out(experiment, method),
        }
        | dataclasses.asdict(augmentation(experiment, dataset)),
        "recipe": dataclasses.asdict(experiment.recipe) | {"epochs": epochs(experiment)},
    }


def slug(experiment: Experiment, identity: dict[str, Any]) -> str:
    """Returns the name of a run's folder where none is given; it stands for the whole configuration."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", Path(experiment.data.dataset).stem).strip("-")
    method = "" if experiment.method == "scratch" else f"-{experiment.method}"
    student = experiment.student
    return f"{name}-{student.student}{method}-seed{student.seed}-{settings.digest(identity)}"


def workdir(experiment: Experiment, identity: dict[str, Any]) -> Path:
    """Returns the run's folder."""
    if experiment.execution.workdir:
        return Path(experiment.execution.workdir)
    return Path("runs") / slug(experiment, identity)


def held_out(experiment: Experiment, method: Method) -> float:
    """Returns the fraction of the training images that the method holds out of something."""
    return experiment.data.held_out if has_outer_images(method) or method.prepare is not None else 0.0


def has_outer_images(method: Method) -> bool:
    """Whether the method's outer loss is on images held out from the student."""
    level = method.upper_level
    return level is not None and level.memory is None


def split(experiment: Experiment, dataset: Dataset, method: Method) -> tuple[np.ndarray, np.ndarray]:
    """Returns the training images that the student sees, and those that are held out."""
    fraction = held_out(experiment, method)
    kept, rest = data.stratified_split(dataset.train_labels, fraction, experiment.student.seed)
    if not has_outer_images(method):  # what is held out of the preparation alone, the student may see
        kept = np.arange(len(dataset.train_labels), dtype=np.int32)
    batch_size = experiment.recipe.batch_size
    if batch_size > len(kept):
        raise UserError(
            f"--batch-size={batch_size} is more than the {len(kept)} training images; "
            "it can be that many at most"
        )
    return kept, rest
