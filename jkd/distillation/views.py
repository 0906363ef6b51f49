"""Fixed views of the training images, of which teachers are asked once."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jkd.machine import hosts
from jkd.methods.asked import Kept, keep
from jkd.methods.base import TeacherOutputs
from jkd.planning.plan import Plan
from jkd.planning.views import folder_of, made_of
from jkd.provenance import session
from jkd.steps.asking import teacher_outputs
from jkd.steps.state import State
from jkd.teachers import about, kept, recorded
from jkd.teachers.kept import Ask, KeptOutputs
from jkd.teachers.ratings import Rating
from jkd.teachers.recorded import Recorded
from jkd.teachers.teacher import Teacher
from jkd.training.beginning import asked_of
from jkd.training.job import Job, Taught, Views


def in_views(
    plan: Plan,
    who: Sequence[Teacher],
    rating: Rating,
    state: State,
    signatures: tuple[TeacherOutputs, ...],
) -> tuple[Job, Taught]:
    """Returns a plan's training with teachers that are asked once, and what it then has of them.

    Its compiled programs hold no teacher but the heads.

    Args:
        plan: The plan.
        who: Its teachers, ready.
        rating: What they are worth.
        state: The state before the first step.
        signatures: Of what each teacher gives for a batch.

    Raises:
        UserError: There is a folder of outputs, and it is of something else.
    """
    job = plan.job
    outputs = open_outputs(plan, who, rating, state, signatures)
    heads = tuple(network.head(t.variables) for network, t in zip(job.task.teachers, who, strict=True))
    silent = dataclasses.replace(job.task, teachers=tuple(map(recorded.silent, signatures)))
    views = Views(job.views, functools.partial(said, outputs), plan.experiment.teachers.teacher_outputs_in)
    return dataclasses.replace(job, task=silent), Taught(heads, rating.logits, views)


def said(outputs: KeptOutputs, view: int, asked_to_stop: Callable[[], int] = lambda: 0) -> Kept | None:
    """Returns the outputs of a view, as `KeptOutputs.view`, which the first process asks for where they miss.

    It asks with its own devices, and to the end: processes stop together, between two steps.
    """
    if hosts.joined():
        if hosts.is_first():
            outputs.view(view)
        hosts.meet(f"view {view} is there")
        return outputs.view(view)
    return outputs.view(view, asked_to_stop)


def open_outputs(
    plan: Plan,
    who: Sequence[Teacher],
    rating: Rating,
    state: State,
    signatures: tuple[TeacherOutputs, ...],
) -> KeptOutputs:
    """Returns a plan's folder of outputs, made where it is missing; as `in_views`."""
    job, spec = plan.job, plan.experiment.teachers
    of = made_of(job, plan.experiment.teaching_dtype, who)
    path = folder_of(spec.teacher_outputs, spec.teacher_dir, of)
    here = not any(isinstance(teacher, Recorded) for teacher in who)
    if here:
        rows, arrays = recorded.record(who, signatures, rating.each)
        known = zip(rows, plan.identity["teachers"], strict=True)
        told = {"teachers": [row | {"identity": one} for row, one in known], "by": session()}
        if hosts.is_first():
            about.create(path, of, told, arrays)
        hosts.meet(f"{path} is there")
        about.check(path, of)
    return KeptOutputs(
        path,
        asked_of(job.task, job.batch_shape, state, signatures),
        len(job.dataset.train_labels),
        tuple(teacher.name for teacher in who),
        _asking(job, tuple(teacher.variables for teacher in who)) if here else None,
        job.task.devices.here.round_up(job.eval_batch_size),
    )


def _asking(job: Job, teachers: tuple[PyTree, ...]) -> Ask:
    """Returns how teachers are asked about training images in a view, in batches of one size."""
    task, devices = job.task, job.task.devices.here
    size = devices.round_up(job.eval_batch_size)

    @functools.cache
    def variables() -> PyTree:
        return devices.replicate(teachers)

    @functools.cache
    def program(form: Kept) -> Callable[..., Kept]:
        @jax.jit
        def say(variables: PyTree, view: Any, positions: Any, images: Any) -> Kept:
            views = jax.numpy.full(len(positions), view)
            seen = task.augmentation.in_views(views, *devices.shard((positions, images)))
            found = keep(form, teacher_outputs(task.teachers, variables, seen))
            return jax.tree.map(lambda x: x.astype(kept.DTYPE), found)

        return say

    def ask(view: int, positions: np.ndarray, form: Kept) -> Kept:
        padded = np.pad(positions, (0, size - len(positions)))
        found = program(form)(variables(), np.int32(view), padded, job.dataset.train_images[padded])
        return jax.tree.map(np.asarray, found)

    return ask
