"""What every estimator is made of: the problem, one inner step, and the way back through an inner step."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import Partial
from jaxtyping import Array, Float, PyTree


class Hypergradient(NamedTuple):
    """The outer loss after the inner steps and its gradient.

    `gradient` has the structure of the upper-level variables. `aux` is what the outer loss returned beside
    its value. `params`, `opt_state` and `state` are where the inner steps ended; whoever wants them undone
    keeps what went in.
    """

    value: Float[Array, ""]
    gradient: PyTree
    aux: PyTree
    params: PyTree
    opt_state: PyTree
    state: PyTree


class Lower(NamedTuple):
    """What an inner step carries to the next; or its cotangent, the last two being lists of floats then."""

    params: PyTree
    opt_state: PyTree
    state: PyTree


class Problem(NamedTuple):
    """A bi-level problem: each step's inner loss and its batch; the outer loss has its batch filled in."""

    inner_losses: tuple[Callable[[PyTree, PyTree, PyTree, PyTree], tuple[Float[Array, ""], PyTree]], ...]
    batches: tuple[PyTree, ...]
    outer_loss: Callable[[PyTree, PyTree, PyTree], tuple[Float[Array, ""], PyTree]]
    optimizer: Callable[[PyTree], optax.GradientTransformation]  # of the upper-level variables

    def inner_loss(
        self, step: int, params: PyTree, upper: PyTree, state: PyTree
    ) -> tuple[Float[Array, ""], PyTree]:
        """One step's loss, and the new state."""
        return self.inner_losses[step](params, upper, state, self.batches[step])


def floats(tree: PyTree) -> tuple[list[Array], Callable[[list[Array]], PyTree]]:
    """The leaves that can have a derivative, and how to put them back: optimizers count steps in integers."""
    leaves, structure = jax.tree.flatten(tree)
    where = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]

    def join(values: list[Array]) -> PyTree:
        replaced = dict(zip(where, values, strict=True))
        return jax.tree.unflatten(structure, [replaced.get(i, leaf) for i, leaf in enumerate(leaves)])

    return [leaves[i] for i in where], join


def add(a: PyTree, b: PyTree) -> PyTree:
    """The sum of two trees."""
    return jax.tree.map(jnp.add, a, b)


def advance(problem: Problem, step: int, upper: PyTree, lower: Lower) -> Lower:
    """One inner step."""
    inner_loss = partial(problem.inner_loss, step)
    gradient, state = jax.grad(inner_loss, has_aux=True)(lower.params, upper, lower.state)
    updates, opt_state = problem.optimizer(upper).update(gradient, lower.opt_state, lower.params)
    return Lower(optax.apply_updates(lower.params, updates), opt_state, state)


def differentiable_update(
    problem: Problem, upper: PyTree, lower: Lower, gradient: PyTree
) -> tuple[PyTree, PyTree, Callable[[Lower], tuple[PyTree, PyTree, PyTree, list[Array]]]]:
    """The optimizer's part of a step.

    Returns:
        New parameters, new optimizer state, and a function from the cotangent of both to the cotangents of
        the inner gradient, the parameters, the upper-level variables and the optimizer state.
    """
    opt_floats, join = floats(lower.opt_state)

    def update(gradient, params, upper, opt_floats):
        updates, opt_state = problem.optimizer(upper).update(gradient, join(opt_floats), params)
        return (optax.apply_updates(params, updates), floats(opt_state)[0]), opt_state

    (params, _), pull, opt_state = jax.vjp(update, gradient, lower.params, upper, opt_floats, has_aux=True)
    return params, opt_state, Partial(_pull_update, pull)


def _pull_update(pull: Callable[..., Any], cotangent: Lower) -> tuple[PyTree, PyTree, PyTree, list[Array]]:
    return pull((cotangent.params, cotangent.opt_state))


def differentiable_advance(
    problem: Problem, step: int, upper: PyTree, lower: Lower
) -> tuple[Lower, Callable[[Lower], tuple[PyTree, Lower]]]:
    """One inner step in mixed mode (Kemaev et al. 2025, "Scalable meta-learning via mixed-mode ...").

    With g̃ the cotangent of the inner gradient and s̄ that of the new state, the step contributes the
    derivative of ⟨g̃, ∇ℓ⟩ + ⟨s̄, state⟩. That is the derivative at ε = 0 of the ordinary backward pass taken
    at params + ε g̃ with the cotangents 1 for the loss and ε s̄ for the state: one forward-mode derivative of
    one backward pass, where reverse mode would store the backward pass and go back through it. That s̄ can
    ride along as a tangent is ours.

    Returns:
        The step's result, and a function from its cotangent to those of the upper-level variables and of
        `lower`; it is a pytree of what it keeps, so that a loop can hand one out for each step.
    """
    state_floats, join = floats(lower.state)

    def backward(params, state_cotangent):
        def loss(params, upper, state_floats):
            value, state = problem.inner_loss(step, params, upper, join(state_floats))
            return (value, floats(state)[0]), state

        (value, _), pull, state = jax.vjp(loss, params, upper, state_floats, has_aux=True)
        return pull((jnp.ones_like(value), state_cotangent)), state

    (gradient, _, _), tangent, state = jax.linearize(
        backward, lower.params, [jnp.zeros_like(leaf) for leaf in state_floats], has_aux=True
    )
    params, opt_state, pull_update = differentiable_update(problem, upper, lower, gradient)
    return Lower(params, opt_state, state), Partial(_pull, tangent, pull_update)


def _pull(
    tangent: Callable[..., Any], pull_update: Callable[..., Any], cotangent: Lower
) -> tuple[PyTree, Lower]:
    of_gradient, of_params, of_upper, of_opt_state = pull_update(cotangent)
    params, upper, state = tangent(of_gradient, cotangent.state)
    return add(of_upper, upper), Lower(add(of_params, params), of_opt_state, state)


def outer(problem: Problem, upper: PyTree, lower: Lower) -> tuple[Float[Array, ""], PyTree, PyTree, Lower]:
    """The outer loss, its aux, its direct derivative for `upper`, and the cotangent of `lower`."""
    state_floats, join = floats(lower.state)

    def loss(params, upper, state_floats):
        return problem.outer_loss(params, upper, join(state_floats))

    (value, aux), (of_params, of_upper, of_state) = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(
        lower.params, upper, state_floats
    )
    of_opt_state = [jnp.zeros_like(leaf) for leaf in floats(lower.opt_state)[0]]
    return value, aux, of_upper, Lower(of_params, of_opt_state, of_state)
