"""What decides the outputs of teachers for fixed views, and whether a folder of outputs is of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jkd.errors import UserError
from jkd.machine import files
from jkd.planning.identity import digest, told
from jkd.planning.source import own_code
from jkd.teachers import about, kept
from jkd.teachers.kept import KeptOutputs
from jkd.teachers.recorded import Recorded
from jkd.teachers.teacher import Teacher
from jkd.training.beginning import asked_of, begin
from jkd.training.job import Job


def made_of(job: Job, dtype: str, teachers: Sequence[Teacher] | None) -> dict[str, Any]:
    """Returns what decides the outputs: not how many views, as each is what it is beside however many.

    Args:
        job: The training.
        dtype: What networks compute in.
        teachers: The teachers, ready; None where they are not yet, and left out.
    """
    dataset, augmentation = job.dataset, job.task.augmentation
    found = {
        "dataset": dataset.fingerprint,
        "augmentation": told(augmentation),
        "computed_in": dtype,
        "kept_in": kept.DTYPE.name,
    }
    if teachers is None:
        return found

    def described(teacher: Teacher) -> dict[str, Any]:
        if isinstance(teacher, Recorded):
            return dict(teacher.described)
        code = own_code(teacher.made_by)
        return {
            "weights": teacher.fingerprint,
            "mean": teacher.mean or augmentation.mean,
            "std": teacher.std or augmentation.std,
            "image_size": teacher.image_size or dataset.train_images.shape[1],
        } | ({"code": code} if code else {})

    return found | {"teachers": {str(number): described(one) for number, one in enumerate(teachers)}}


def folder_of(named: str | None, teacher_dir: str, of: dict[str, Any]) -> Path:
    """Returns the folder of outputs: the one that is named, or one beside the teachers."""
    return Path(named) if named is not None else Path(teacher_dir) / "outputs" / digest(files.plain(of))


def check_views(job: Job) -> None:
    """Raises UserError where images are not cropped by what shows them in views, but where they are read."""
    if job.dataset.streamed and job.resized_crop is not None:
        raise UserError(
            "--teacher-views with --resized-crop of images that are streamed: parts of these are drawn anew "
            "whenever they are read; leave one of the two out"
        )


def check_outputs(folder: Path, job: Job, dtype: str, teachers: Sequence[Teacher], ready: bool) -> None:
    """Checks a folder that is named before anything is trained.

    Args:
        folder: The folder, which need not be there where there are teachers to ask.
        job: The training.
        dtype: What networks compute in.
        teachers: The teachers.
        ready: Whether none of them is still to be trained.

    Raises:
        UserError: It is of something else, or, where there are no teachers to ask, not whole.
    """
    there = (folder / "about.json").exists()
    if there:
        about.check(folder, made_of(job, dtype, teachers if ready else None))
    if any(isinstance(teacher, Recorded) for teacher in teachers):
        variables = tuple(teacher.variables for teacher in teachers)
        state, signatures = jax.eval_shape(lambda: begin(job, variables))
        form = asked_of(job.task, job.batch_shape, state, signatures)
        outputs = KeptOutputs(folder, form, len(job.dataset.train_labels))
        for view in range(job.views):
            outputs.check_whole(view)
