"""Whether networks that are not jkd's give what a method asks them for, found with shapes alone."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jkd.errors import UserError
from jkd.models import Outputs, OwnNetwork
from jkd.teachers.teacher import Teacher
from jkd.training.beginning import begin
from jkd.training.job import Job


def check_fit(job: Job, teachers: Sequence[Teacher], student: str, method: str) -> None:
    """Checks the networks of a training; those that are jkd's fit, and cost no time here.

    Args:
        job: The training.
        teachers: Its teachers; the shapes of their variables are enough.
        student: The student's name, for errors.
        method: The method's.

    Raises:
        UserError: a network cannot be applied, gives other logits than it should, or no features or no head
            where the method needs them.
    """
    own_student = isinstance(job.task.student, OwnNetwork)
    own_teachers = [not teacher.is_jkds for teacher in teachers]
    if not (own_student or any(own_teachers)):
        return
    shape = (job.batch_size, *job.dataset.train_images.shape[1:])
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    for teacher, network, own in zip(teachers, job.task.teachers, own_teachers, strict=True):
        if own:
            _check_logits(
                job, _shapes(teacher.name, network.outputs, teacher.variables, images), teacher.name
            )
    if own_student:
        network = job.task.student
        variables = _shapes(student, lambda x: network.init(jax.random.key(0), x, train=False), images)
        _check_logits(job, _shapes(student, partial(network.apply, train=False), variables, images), student)
    variables = tuple(teacher.variables for teacher in teachers)
    try:
        jax.eval_shape(lambda: begin(job, variables)[0])
    except UserError as error:
        raise UserError(f"{method} needs more of a network: {error}, logits alone") from None


def _check_logits(job: Job, outputs: Outputs, name: str) -> None:
    should = (job.batch_size, job.dataset.num_classes)
    if outputs.logits.shape != should:
        raise UserError(
            f"{name} gives logits of shape {outputs.logits.shape}, should be {should}: "
            f"there are {should[0]} images in a batch and {should[1]} classes in the data set"
        )


def _shapes(name: str, function: Any, *arguments: Any) -> Any:
    """Applies what is not jkd's to shapes alone, and tells its errors as a user's."""
    try:
        return jax.eval_shape(function, *arguments)
    except UserError:
        raise
    except Exception as error:  # whatever somebody's network may raise
        told = str(error).strip().splitlines()
        batch = " × ".join(map(str, arguments[-1].shape))
        raise UserError(
            f"{name} cannot be applied to a batch of images {batch}: {told[0] if told else repr(error)}"
        ) from error
