"""The losses as functions of what is trained: that of the lower level, of its inner steps, the outer one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, UInt32

from jkd.methods.asked import complete
from jkd.methods.base import Batch, Loss, LossFn, TeacherOutputs, UpperLevel, Variables
from jkd.steps.state import Split
from jkd.steps.task import Task


class Seen(NamedTuple):
    """A batch with what the losses need beside it: computed once a step, whoever uses it."""

    batch: Batch
    teachers: tuple[TeacherOutputs, ...]
    progress: Float[Array, ""]
    dropout: UInt32[Array, "..."]  # raw data of a key, for networks that draw while they are trained
    held_out: Batch | None


def lower_loss(task: Task, loss: LossFn) -> Callable[..., Any]:
    """The lower-level loss as a function of the lower-level parameters."""

    def run(params: Split, upper: PyTree, stats: Split, seen: Seen):
        output, changed = task.student.apply(
            {"params": params.student, "batch_stats": stats.student},
            seen.batch.images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.wrap_key_data(seen.dropout)},
        )
        own = Variables(params.method, stats.method, upper)
        teachers = complete(seen.teachers, len(seen.batch.labels))
        result = loss(own, output, teachers, seen.batch, seen.progress)
        return result.value, (Split(changed["batch_stats"], result.state), result.metrics, output)

    return run


def inner_loss(task: Task, level: UpperLevel) -> tuple[Callable[..., Any], dict[str, bool]]:
    """The loss of every inner step, whose number is in its batch, and the estimator's options.

    Where no activations are kept for the way back, an accelerator takes the steps in a loop: one body with
    every loss in it, in place of copies that are compiled each. What is kept would have to be copied into a
    stack and out of it. On CPUs a convolution in a loop is slow.
    """
    losses = list(dict.fromkeys(level.inner_losses))
    which = [losses.index(loss) for loss in level.inner_losses]
    loop = level.rematerialise and level.estimator == "unrolled" and not task.devices.on_cpu

    def chosen(step: Any) -> Callable[..., Loss]:
        if not loop:
            return level.inner_losses[step]

        def loss(*seen: Any) -> Loss:
            results = [(result.value, result.state) for result in (one(*seen) for one in losses)]
            number = jnp.asarray(which)[step]
            value, stats = jax.tree.map(lambda *of_each: jax.lax.select_n(number, *of_each), *results)
            return Loss(value, {}, stats)

        return loss

    def inner(params: Split, upper: PyTree, stats: Split, batch: tuple[Seen, Any]):
        seen, step = batch
        value, (stats, _, _) = lower_loss(task, chosen(step))(params, upper, stats, seen)
        return value, stats

    return inner, {"loop": True} if loop else {}


def outer_loss(task: Task, level: UpperLevel) -> Callable[..., Any]:
    """The outer loss as a function of the same, on held-out images."""

    def outer(params: Split, upper: PyTree, stats: Split, seen: tuple[Batch, Any]):
        del upper
        batch, dropout = seen
        # In training mode: the running statistics of a young student say little about it.
        output, _ = task.student.apply(
            {"params": params.student, "batch_stats": stats.student},
            batch.images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.wrap_key_data(dropout)},
        )
        return level.outer_loss(output, batch), {}

    return outer
