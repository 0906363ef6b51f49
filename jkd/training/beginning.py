"""The state before the first step of a training."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jkd.methods.base import TeacherOutputs
from jkd.training.asking import teacher_outputs
from jkd.training.job import Job
from jkd.training.state import State, initial
from jkd.training.step import with_totals


def begin(job: Job, teachers: tuple[PyTree, ...]) -> tuple[State, tuple[TeacherOutputs, ...]]:
    """Returns the state before the first step, and the signatures of what each teacher gives for a batch.

    Args:
        job: The training.
        teachers: The teachers' variables; their shapes and types are enough.
    """
    task = job.task
    shape = (job.batch_size, *job.dataset.train_images.shape[1:])
    images = jax.ShapeDtypeStruct(shape, jnp.float32)

    def outputs(variables: PyTree, images: Any) -> tuple[TeacherOutputs, ...]:
        return teacher_outputs(task.teachers, variables, images)

    signatures = jax.eval_shape(outputs, teachers, images)
    # Drawing initial values with threefry compiles for seconds on the CPU, once for each shape.
    key = jax.random.key(job.seed, impl="rbg")
    step_key = jax.random.key(job.seed)
    examples = len(job.dataset.train_labels)
    state = initial(key, step_key, task.method, task.student, signatures, task.optimizer, images, examples)
    return with_totals(task, state, teachers, shape), signatures
