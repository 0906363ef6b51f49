"""Everything that decides what is computed: the configuration that a run's folder belongs to."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jkd import methods, models
from jkd import run as run_folder
from jkd.planning.experiment import Experiment
from jkd.planning.images import Split
from jkd.planning.settings import DECAYS
from jkd.planning.source import own_code, plainly
from jkd.provenance import jkd_code
from jkd.teachers.named import called
from jkd.teachers.recorded import Recorded
from jkd.teachers.teacher import Teacher
from jkd.training.job import Job

# Of a run's configuration. Runs of format 1 do not name theirs; those of format 2 drew what they hold out by
# their own seeds.
FORMAT = 3


# Settings that there were not always: at their defaults they are left out, so that earlier runs stay what
# they are.
_LATER = {
    "optimizer": "sgd",
    "schedule": "steps",
    "decay_at": DECAYS,
    "warmup_epochs": 0,
    "label_smoothing": 0.0,
    "resized_crop": None,
}


Identity = dict[str, Any]


def identify(
    experiment: Experiment, job: Job, teachers: Sequence[Teacher | Identity], parts: Split
) -> Identity:
    """Returns the configuration of a run, of what JSON can hold.

    Not where things lie: the same images, weights and code elsewhere are the same run.

    Args:
        experiment: The settings, resolved.
        job: The training.
        teachers: Those ready to teach, and the identities of those to be trained first.
        parts: How its training images are split.
    """
    dataset, task, recipe = job.dataset, job.task, experiment.recipe
    found: Identity = {
        "format": FORMAT,
        "method": experiment.method,
        "hyperparameters": dict(experiment.hyperparameters),
        "student": student_name(experiment),
        "seed": job.seed,
        "teachers": [_of_teacher(one, job, _another_dtype(experiment)) for one in teachers],
        "dataset": {
            "name": source(dataset.name),
            "fingerprint": dataset.fingerprint,
            "num_classes": dataset.num_classes,
            "classes": list(dataset.class_names) if dataset.class_names else None,
            "image_size": list(dataset.train_images.shape[1:3]),
            "held_out": parts.fraction,
            "trained_on_held_out": parts.overlaps,
            "validation": experiment.data.validation,
        }
        | told(task.augmentation)
        | ({"resized_crop": crop} if (crop := experiment.data.resized_crop) is not None else {})
        | ({"views": job.views} if job.views else {}),
        "recipe": told(recipe),
    }
    student = experiment.student.student
    code = {
        "method": own_code(methods.find(experiment.method)),
        "student": own_code(models.maker(student) if isinstance(student, str) else student),
    }
    if not isinstance(student, str):
        found["student_settings"] = plainly(student)
    if any(code.values()):
        found["code"] = code
    return found


def digest(config: dict[str, Any]) -> str:
    """Returns eight hexadecimal digits that stand for a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]


def told(settings: Any) -> dict[str, Any]:
    """Returns a dataclass as a dictionary, without later settings at their defaults."""
    every = dataclasses.asdict(settings)
    return {name: value for name, value in every.items() if name not in _LATER or value != _LATER[name]}


def student_name(experiment: Experiment) -> str:
    """Returns how the student's network is called."""
    student = experiment.student.student
    return student if isinstance(student, str) else type(student).__name__


def source(dataset: str) -> str:
    """Returns where a data set's images come from, without a path."""
    return dataset.partition(":")[0]


def teacher_name(identity: Identity) -> str:
    """Returns how the teacher is called that a run makes."""
    return called(identity["student"], identity["seed"], identity.get("lessons", ""))


def _another_dtype(experiment: Experiment) -> dict[str, str]:
    """Returns what teachers compute in, where that is not what the student does."""
    dtype = experiment.teaching_dtype
    return {} if dtype == experiment.recipe.dtype else {"dtype": dtype}


def _of_teacher(teacher: Teacher | Identity, job: Job, dtype: dict[str, str]) -> dict[str, Any]:
    if isinstance(teacher, Recorded):
        return dict(teacher.identity)
    if not isinstance(teacher, Teacher):
        run, epochs = digest(teacher), teacher["recipe"]["epochs"]
        return {"name": teacher_name(teacher), "epochs": epochs, "run": run} | dtype
    described: dict[str, Any] = {"name": teacher.name.partition("@")[0], "weights": teacher.fingerprint}
    described |= dtype
    if code := own_code(teacher.made_by):
        described["code"] = code
    augmentation = job.task.augmentation
    ours = {
        "mean": augmentation.mean,
        "std": augmentation.std,
        "image_size": job.dataset.train_images.shape[1],
    }
    for what, value in ours.items():
        theirs = getattr(teacher, what)
        if theirs not in (None, value):
            described[what] = theirs
    return described


def folder(parent: Path, identity: Mapping[str, Any], data: str, workdir: str | None, again: bool) -> Path:
    """Returns the folder of a run.

    Args:
        parent: Where it lies if no folder is named.
        identity: The run's configuration, of which its name holds a digest.
        data: The data set's name.
        workdir: The folder, where one is named.
        again: Whether a run that other code of jkd began is to be made anew, beside it.
    """
    if workdir:
        found = Path(workdir)
    else:
        digits = digest(dict(identity))
        method = "" if identity["method"] == "scratch" else f"-{identity['method']}"
        words = re.sub(r"[^A-Za-z0-9]+", "-", Path(data).stem).strip("-")
        name = f"{words}-{identity['student']}{method}-seed{identity['seed']}-{digits}"
        # Of data under another name, but with the same content, it is the same run.
        there = sorted(parent.glob(f"*-seed{identity['seed']}-{digits}"))
        found = there[0] if there else parent / name
    other = again and (found / "config.json").exists() and made_by_other_code(run_folder.read(found))
    return found.with_name(f"{found.name}-code{jkd_code()}") if other else found


def made_by_other_code(contents: run_folder.Contents) -> bool:
    """Whether a run was begun by other code of jkd than this."""
    return bool(contents.sessions) and contents.sessions[0].get("code") != jkd_code()
