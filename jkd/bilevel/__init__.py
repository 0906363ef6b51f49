"""Hypergradients: the gradient of an outer loss through n steps of an inner optimizer.

d/du L(p_n, u) where p_{i+1} = optimizer(p_i, ∇ℓ_i(p_i, u)), for any losses, any pytrees, any optax optimizer.
`docs/hypergradients.md` has complete examples and compares the estimators.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jkd.bilevel.approximate import first_order, implicit, one_step
from jkd.bilevel.base import Hypergradient, Lower, Problem
from jkd.bilevel.unrolled import reverse, truncated, unrolled
from jkd.errors import UserError, nearest

__all__ = ["ESTIMATORS", "Estimator", "Hypergradient", "hypergradient"]

Estimator = Literal["unrolled", "reverse", "truncated", "one-step", "first-order", "implicit"]
ESTIMATORS: Mapping[Estimator, Callable[..., Hypergradient]] = MappingProxyType(
    {
        "unrolled": unrolled,
        "reverse": reverse,
        "truncated": truncated,
        "one-step": one_step,
        "first-order": first_order,
        "implicit": implicit,
    }
)

InnerLoss = Callable[[PyTree, PyTree, PyTree, PyTree], tuple[Float[Array, ""], PyTree]]
OuterLoss = Callable[[PyTree, PyTree, PyTree, PyTree], tuple[Float[Array, ""], PyTree]]


def hypergradient(
    inner_loss: InnerLoss | Sequence[InnerLoss],
    outer_loss: OuterLoss,
    optimizer: optax.GradientTransformation | Callable[[PyTree], optax.GradientTransformation],
    *,
    estimator: Estimator = "unrolled",
    rematerialise: bool = False,
    **options: Any,
) -> Callable[[PyTree, PyTree, PyTree, PyTree, Sequence[PyTree], PyTree], Hypergradient]:
    """Makes the function that takes inner steps and differentiates the outer loss after them.

    The steps are unrolled in Python, because a convolution inside a loop is slow on CPUs; compile time
    grows with their number (not with `loop`). The losses may close over arrays, traced ones too. All of
    it runs under `jit`, with sharded arrays, and differentiates what is run: momentum, weight decay, batch
    statistics, a projection onto a manifold.

    Args:
        inner_loss: (params, upper, state, batch) → (scalar, new state). `state` is any pytree that a loss
            carries along without being trained on it, such as batch statistics; () if there is none. Or a
            sequence of such functions, one per inner step.
        outer_loss: (params, upper, state, batch) → (scalar, aux), of what the inner steps arrived at. `aux`
            is any pytree, () if there is none. It may depend on `upper` directly.
        optimizer: of the inner steps; its update may read the parameters. Where its hyperparameters are to
            be learned: a function from `upper` to the optimizer.
        estimator: a name in `ESTIMATORS`; their docstrings give bias, cost and memory of each.
        rematerialise: spend time to save memory: hold no inner step's activations while another is
            differentiated.
        **options: options of the estimator: `loop` (unrolled), `last` (truncated), `epsilon` (one-step),
            `terms`, `solver`, `damping` (implicit).

    Returns:
        (upper, params, opt_state, state, inner_batches, outer_batch) → `Hypergradient`. `inner_batches` is
        a list or tuple with one batch per inner step; its length is the number of steps. `upper` and
        `params` are pytrees of floats.

    Raises:
        UserError: for an unknown estimator or option, and, when the function is called, for a number of
            batches that does not match the losses, variables that are not floats, or a loss that does not
            return a scalar and a state like the one it got.
    """
    if estimator not in ESTIMATORS:
        raise UserError(
            f"Unknown estimator '{estimator}'{nearest(estimator, ESTIMATORS)}: "
            f"give one of {', '.join(ESTIMATORS)}."
        )
    estimate = ESTIMATORS[estimator]
    known = list(inspect.signature(estimate).parameters)[4:]
    for option in options:
        if option not in known:
            raise UserError(
                f"Unknown option '{option}' of the estimator '{estimator}': "
                + (f"give {', '.join(known)}." if known else "it has none.")
            )
    fixed = isinstance(optimizer, optax.GradientTransformation)

    def function(
        upper: PyTree,
        params: PyTree,
        opt_state: PyTree,
        state: PyTree,
        inner_batches: Sequence[PyTree],
        outer_batch: PyTree,
    ) -> Hypergradient:
        losses, batches = _losses_and_batches(inner_loss, inner_batches)
        checked = {id(loss): _checked_inner(loss) for loss in losses}
        problem = Problem(
            tuple(checked[id(loss)] for loss in losses),
            tuple(batches),
            _checked_outer(outer_loss, outer_batch),
            (lambda upper: optimizer) if fixed else optimizer,
        )
        _check_floats("upper", upper)
        _check_floats("params", params)
        return estimate(problem, upper, Lower(params, opt_state, state), rematerialise, **options)

    return function


def _losses_and_batches(inner_loss, batches) -> tuple[Sequence[InnerLoss], Sequence[PyTree]]:
    # A batch is often a named tuple, and would pass for a sequence of batches.
    if not isinstance(batches, list | tuple) or hasattr(batches, "_fields"):
        given = type(batches).__name__
        raise UserError(f"inner_batches must be a list or tuple, one batch per inner step, not {given}.")
    if not batches:
        raise UserError(f"inner_batches is {batches}: give one batch per inner step, at least one.")
    losses = [inner_loss] * len(batches) if callable(inner_loss) else inner_loss
    if len(losses) != len(batches):
        raise UserError(f"{len(losses)} inner losses need as many batches, not {len(batches)}.")
    return losses, batches


def _checked_inner(inner_loss: InnerLoss) -> InnerLoss:
    def loss(params, upper, state, batch):
        value, new_state = _pair("inner_loss", "new state", inner_loss(params, upper, state, batch))
        if jax.tree.map(_signature, new_state) != jax.tree.map(_signature, state):
            raise UserError(
                "inner_loss must return a state with the structure, shapes and types of the one it got: "
                f"{jax.tree.map(_signature, state)}, not {jax.tree.map(_signature, new_state)}."
            )
        return value, new_state

    return loss


def _checked_outer(outer_loss: OuterLoss, batch: PyTree):
    return lambda params, upper, state: _pair("outer_loss", "aux", outer_loss(params, upper, state, batch))


def _pair(name: str, second: str, result: Any) -> tuple[Array, PyTree]:
    if not isinstance(result, tuple) or len(result) != 2 or jnp.shape(result[0]) != ():
        raise UserError(f"{name} must return (scalar, {second}), not {jax.tree.map(_signature, result)}.")
    return result


def _check_floats(name: str, tree: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise UserError(f"{name}{jax.tree_util.keystr(path)} must be float, not {jnp.result_type(leaf)}.")


def _signature(leaf: Any) -> str:
    return f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"
