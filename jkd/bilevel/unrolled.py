"""Estimators that go back through the inner steps as they were taken."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jkd.bilevel.base import Hypergradient, Lower, Problem, add, advance, differentiable_advance, outer
from jkd.errors import UserError


def unrolled(
    problem: Problem, upper: PyTree, start: Lower, rematerialise: bool, loop: bool = False
) -> Hypergradient:
    """Exact, mixed mode: reverse over the steps, forward over reverse within each (Kemaev et al. 2025).

    Bias: none. Cost: about twice that of the inner steps. Memory: the activations of every inner step; with
    `rematerialise` only the variables of every step and the activations of one, for one more evaluation of
    the inner gradients.

    Args:
        problem: the losses and the optimizer.
        upper: upper-level variables.
        start: lower-level variables.
        rematerialise: see above.
        loop: take the steps in a loop that is compiled once, however many they are. All have the same loss,
            and batches of the same form. For accelerators: a CPU is slow at convolutions in loops. Without
            `rematerialise` every activation is copied into a stack and out of it again.
    """
    if loop:
        return _in_a_loop(problem, upper, start, rematerialise)
    return truncated(problem, upper, start, rematerialise, last=len(problem.inner_losses))


def _in_a_loop(problem: Problem, upper: PyTree, start: Lower, rematerialise: bool) -> Hypergradient:
    forms = {str(jax.tree.map(jax.typeof, batch)) for batch in problem.batches}
    if len(set(problem.inner_losses)) > 1 or len(forms) > 1:
        raise UserError(
            "loop=True compiles one step for all: give one inner loss, and batches of one structure, with "
            "arrays of the same shapes and types."
        )
    # What all steps share, such as the images, is not copied for each.
    leaves, structures = zip(*map(jax.tree.flatten, problem.batches), strict=True)
    columns = list(zip(*leaves, strict=True))
    differ = [i for i, column in enumerate(columns) if any(x is not column[0] for x in column)]
    own = {i: jnp.stack(columns[i]) for i in differ}

    def one(own: dict[int, Array]) -> Problem:
        batch = jax.tree.unflatten(structures[0], [own.get(i, column[0]) for i, column in enumerate(columns)])
        return problem._replace(inner_losses=problem.inner_losses[:1], batches=(batch,))

    def forwards(lower: Lower, own: dict[int, Array]) -> tuple[Lower, Any]:
        if rematerialise:
            return advance(one(own), 0, upper, lower), (own, lower)
        return differentiable_advance(one(own), 0, upper, lower)

    def backwards(carry: tuple[PyTree, Lower], kept: Any) -> tuple[tuple[PyTree, Lower], None]:
        gradient, cotangent = carry
        pull = differentiable_advance(one(kept[0]), 0, upper, kept[1])[1] if rematerialise else kept
        through_step, cotangent = pull(cotangent)
        return (add(gradient, through_step), cotangent), None

    lower, kept = jax.lax.scan(forwards, start, own, len(problem.batches))
    value, aux, gradient, cotangent = outer(problem, upper, lower)
    (gradient, _), _ = jax.lax.scan(backwards, (gradient, cotangent), kept, reverse=True)
    return Hypergradient(value, gradient, aux, *lower)


def truncated(
    problem: Problem, upper: PyTree, start: Lower, rematerialise: bool, last: int | None = None
) -> Hypergradient:
    """As `unrolled`, through the last steps only (Shaban et al. 2019, "Truncated back-propagation").

    Bias: what the upper-level variables did through the earlier steps is left out; it falls exponentially
    in `last` where the inner problem is strongly convex, and is gone when all steps are taken. Cost and
    memory: those of `unrolled` for `last` steps.

    Args:
        problem: the losses and the optimizer.
        upper: upper-level variables.
        start: lower-level variables.
        rematerialise: see `unrolled`.
        last: how many of the n steps to go back through, 1 to n; by default half of them, rounded up.
    """
    steps = len(problem.inner_losses)
    if last is None:
        last = (steps + 1) // 2
    if not 1 <= last <= steps:
        raise UserError(f"last={last} is not a number of inner steps to go back through: give 1 to {steps}.")
    lower = start
    for step in range(steps - last):
        lower = advance(problem, step, upper, lower)
    pulls: list[Callable[[Lower], tuple[PyTree, Lower]]] = []
    for step in range(steps - last, steps):
        if rematerialise:
            pulls.append(partial(_pull_afresh, problem, step, upper, lower))
            lower = advance(problem, step, upper, lower)
        else:
            lower, pull = differentiable_advance(problem, step, upper, lower)
            pulls.append(pull)
    value, aux, gradient, cotangent = outer(problem, upper, lower)
    for pull in reversed(pulls):
        through_step, cotangent = pull(cotangent)
        gradient = add(gradient, through_step)
    return Hypergradient(value, gradient, aux, *lower)


def _pull_afresh(
    problem: Problem, step: int, upper: PyTree, lower: Lower, cotangent: Lower
) -> tuple[PyTree, Lower]:
    # The compiler would recognise the step as the one already taken and keep everything from then, were it
    # not made to depend on the cotangent. The CPU compiler drops `lax.optimization_barrier` too early.
    params = jax.tree.map(lambda p, c: jnp.where(jnp.isnan(c), c, p), lower.params, cotangent.params)
    _, pull = differentiable_advance(problem, step, upper, lower._replace(params=params))
    return pull(cotangent)


def reverse(problem: Problem, upper: PyTree, start: Lower, rematerialise: bool) -> Hypergradient:
    """Exact, plain: `jax.grad` of the unrolled computation (Maclaurin et al. 2015; Franceschi et al. 2017).

    Bias: none. Cost: about twice that of `unrolled`. Memory: the activations of every inner step, forwards
    and backwards; with `rematerialise` those of one step at a time (`jax.checkpoint` around each, of which
    the CPU compiler undoes a part).
    """

    def loss(upper):
        lower = start
        for step in range(len(problem.inner_losses)):
            one_step = partial(advance, problem, step)
            lower = (jax.checkpoint(one_step) if rematerialise else one_step)(upper, lower)
        value, aux = problem.outer_loss(lower.params, upper, lower.state)
        return value, (aux, lower)

    (value, (aux, lower)), gradient = jax.value_and_grad(loss, has_aux=True)(upper)
    return Hypergradient(value, gradient, aux, *lower)
