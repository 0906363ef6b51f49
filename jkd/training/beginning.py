"""The state before the first step of a training."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jkd.methods.asked import Kept, asked
from jkd.methods.base import Batch, TeacherOutputs, Variables
from jkd.steps.asking import teacher_outputs
from jkd.steps.state import State, initial, signature, student_variables
from jkd.steps.step import with_totals
from jkd.steps.task import Task
from jkd.training.job import Job


def asked_of(task: Task, shape: tuple[int, ...], state: State, teachers: tuple[TeacherOutputs, ...]) -> Kept:
    """Returns what the losses of a training ask of teachers: shapes for a batch, `Unasked` for the rest.

    Args:
        task: What is trained.
        shape: Of a batch of images.
        state: The state of training, or the shapes of that.
        teachers: The signatures of what each teacher gives.
    """
    level = task.method.upper_level
    images, places = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct(shape[:1], jnp.int32)
    student = signature(task.student, student_variables(state), images)
    variables = Variables(state.params.method, state.stats.method, state.upper)
    losses = [task.method.loss, *(level.inner_losses if level is not None else ())]
    batch: Any = (images, places, places)
    return asked(losses, variables, student, teachers, Batch(*batch))


def begin(job: Job, teachers: tuple[PyTree, ...]) -> tuple[State, tuple[TeacherOutputs, ...]]:
    """Returns the state before the first step, and the signatures of what each teacher gives for a batch.

    Args:
        job: The training.
        teachers: The teachers' variables; their shapes and types are enough.
    """
    task = job.task
    shape = job.batch_shape
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
