"""What losses ask of teachers: found from the losses themselves, so that no list need be kept in step.

Where no loss depends on an output, nothing of it is kept, and losses see zeros in its place.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Var

from jkd.methods.base import Batch, Loss, LossFn, TeacherOutputs, Variables
from jkd.models import Outputs

Kept = tuple[TeacherOutputs, ...]
"""What is kept of teachers' outputs: `()` for a head, which is none, `Unasked` for what no loss asks."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Unasked:
    """Stands in the place of an output that no loss depends on. A pytree without leaves.

    Attributes:
        shape: That of the output for one image.
        dtype: Its type.
    """

    shape: tuple[int, ...]
    dtype: str


def asked(
    losses: Sequence[LossFn],
    variables: Variables,
    student: Outputs,
    teachers: tuple[TeacherOutputs, ...],
    batch: Batch,
) -> Kept:
    """Returns the teachers' signatures with `Unasked` wherever no loss depends on the output.

    Args:
        losses: All losses that see the teachers' outputs.
        variables: The method's. Of these and of all that follows, shapes and types are enough.
        student: The student's outputs for a batch.
        teachers: The teachers'.
        batch: The batch.

    Raises:
        UserError: A loss needs what a teacher does not give.
    """

    def results(teachers: tuple[TeacherOutputs, ...], *rest: Any) -> list[Loss]:
        own, student, batch, progress = rest
        return [loss(own, student, teachers, batch, progress) for loss in losses]

    progress = jax.ShapeDtypeStruct((), jnp.float32)
    program = jax.make_jaxpr(results)(teachers, variables, student, batch, progress).jaxpr
    needed = depended_on(program)
    signatures, form = jax.tree.flatten(teachers)
    used = jax.tree.unflatten(form, [v in needed for v in program.invars[: len(signatures)]])

    def place(used: bool, output: Any) -> Any:
        return output if used else Unasked(output.shape[1:], str(output.dtype))

    return jax.tree.map(place, without_heads(used), without_heads(teachers))


def depended_on(program: Jaxpr) -> set[Var]:
    """Returns the variables of a program that its results depend on. Functions within it are taken whole."""
    needed = {v for v in program.outvars if isinstance(v, Var)}
    for equation in reversed(program.eqns):
        if needed.intersection(equation.outvars):
            needed.update(v for v in equation.invars if isinstance(v, Var))
    return needed


def without_heads(teachers: tuple[TeacherOutputs, ...]) -> Kept:
    """Returns outputs alone."""
    nothing: Any = ()
    return tuple(teacher._replace(head=nothing) for teacher in teachers)


def keep(form: Kept, teachers: tuple[TeacherOutputs, ...]) -> Kept:
    """Returns of the teachers' outputs those that have a place in `form`."""
    return jax.tree.map(
        lambda place, output: place if isinstance(place, Unasked) else output,
        form,
        without_heads(teachers),
        is_leaf=_unasked,
    )


def complete(kept: Kept, examples: int) -> tuple[TeacherOutputs, ...]:
    """Returns outputs with zeros, for so many examples, where they are `Unasked`."""
    return jax.tree.map(
        lambda x: jnp.zeros((examples, *x.shape), x.dtype) if isinstance(x, Unasked) else x,
        kept,
        is_leaf=_unasked,
    )


def _unasked(place: Any) -> bool:
    return isinstance(place, Unasked)
