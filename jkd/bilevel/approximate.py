"""Estimators that do without second derivatives, or without the steps as they were taken."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import optax
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, PyTree

from jkd.bilevel.base import (
    Hypergradient,
    Lower,
    Problem,
    add,
    advance,
    differentiable_advance,
    differentiable_update,
    floats,
    outer,
)
from jkd.errors import UserError


def one_step(
    problem: Problem, upper: PyTree, start: Lower, rematerialise: bool, epsilon: float = 0.01
) -> Hypergradient:
    """First order, with the cross term by finite differences (Liu et al. 2019, "DARTS", equations 6 to 8).

    For one inner step it is theirs, and exact but for the finite difference; theirs is for plain SGD, here
    −ξ∇L becomes the cotangent that the optimizer's update gives the inner gradient. For more steps the
    cross terms are summed, each as if the later inner gradients did not depend on the parameters.

    Bias: of the order of learning rate times curvature times (steps − 1), and that of the finite
    difference. Cost: that of the inner steps, and two first derivatives with respect to `upper` alone per
    step. Memory: the variables of every step and the activations of one gradient.

    Args:
        problem: the losses and the optimizer.
        upper: upper-level variables.
        start: lower-level variables.
        rematerialise: without effect, there is nothing to gain.
        epsilon: norm of the perturbation of the parameters; theirs is 0.01.
    """
    del rematerialise
    lower, taken = start, []
    for step in range(len(problem.inner_losses)):
        inner_loss = partial(problem.inner_loss, step)
        gradient, state = jax.grad(inner_loss, has_aux=True)(lower.params, upper, lower.state)
        params, opt_state, pull = differentiable_update(problem, upper, lower, gradient)
        taken.append((step, lower, pull))
        lower = Lower(params, opt_state, state)
    value, aux, gradient, cotangent = outer(problem, upper, lower)
    for step, before, pull in reversed(taken):
        of_gradient, of_params, of_upper, of_opt_state = pull(cotangent)
        cross, of_state = _cross_term(problem, step, upper, before, of_gradient, cotangent.state, epsilon)
        gradient = add(gradient, add(of_upper, cross))
        cotangent = Lower(of_params, of_opt_state, of_state)
    return Hypergradient(value, gradient, aux, *lower)


def _cross_term(
    problem: Problem,
    step: int,
    upper: PyTree,
    lower: Lower,
    direction: PyTree,
    state_cotangent: list[Array],
    epsilon: float,
) -> tuple[PyTree, list[Array]]:
    """By central differences, the derivatives for upper and state that `differentiable_advance` has exact."""
    state_floats, join = floats(lower.state)
    norm = optax.tree.norm(direction)
    size = epsilon / jnp.where(norm > 0, norm, 1)

    def backward(distance):
        params = jax.tree.map(lambda p, d: p + (distance * d).astype(p.dtype), lower.params, direction)

        def loss(upper, state_floats):
            value, state = problem.inner_loss(step, params, upper, join(state_floats))
            return value, floats(state)[0]

        (value, _), pull = jax.vjp(loss, upper, state_floats)
        return pull(
            (jnp.ones_like(value), [(distance * leaf).astype(leaf.dtype) for leaf in state_cotangent])
        )

    return jax.tree.map(
        lambda after, before: ((after - before) / (2 * size)).astype(after.dtype),
        backward(size),
        backward(-size),
    )


def first_order(problem: Problem, upper: PyTree, start: Lower, rematerialise: bool) -> Hypergradient:
    """To first order in the inner rate: Σ_i −d/du ⟨∇outer, ∇ℓ_i⟩, all gradients taken at the start.

    That is the derivative by η, at η = 0, of the hypergradient of steps p − η∇ℓ_i: how far each upper-level
    variable turns the inner gradients towards the outer one, whatever a step of finite length would
    overshoot (Ren et al. 2018, "Learning to reweight examples for robust deep learning", equations 4 to 6;
    Du et al. 2018, "Adapting auxiliary losses using gradient similarity"). It is not what DARTS calls first
    order, which leaves this term out. A direct dependence of the outer loss on `upper` is added as it is.

    Bias: it has the direction of the hypergradient of a small rate, without its factor η, nor that of
    momentum (which has the factor as well); the optimizer's other parts and the state play no role in it.
    `value` and `aux` are those of the start. Cost: one gradient, and one forward-mode derivative of each
    inner loss's gradient with respect to `upper` alone; no steps, unless their result is used. Memory: the
    activations of one gradient.

    Args:
        problem: the losses; the optimizer takes the steps that are returned.
        upper: upper-level variables.
        start: lower-level variables.
        rematerialise: without effect.
    """
    del rematerialise
    value, aux, gradient, cotangent = outer(problem, upper, start)
    lower = start
    for step in range(len(problem.inner_losses)):

        def of_upper(params, step=step):
            return jax.grad(lambda upper: problem.inner_loss(step, params, upper, start.state)[0])(upper)

        _, cross = jax.jvp(of_upper, (start.params,), (cotangent.params,))
        gradient = optax.tree.sub(gradient, cross)
        lower = advance(problem, step, upper, lower)
    return Hypergradient(value, gradient, aux, *lower)


def implicit(
    problem: Problem,
    upper: PyTree,
    start: Lower,
    rematerialise: bool,
    terms: int = 5,
    solver: str = "neumann",
    damping: float = 0.0,
) -> Hypergradient:
    """The implicit function theorem at the last point, as if the inner steps had converged there.

    `neumann`: that point is taken for a fixed point of the inner steps, optimizer and state included, and
    the inverse of (I − ∂step) for the first `terms` of its series, as Lorraine et al. (2020, "Optimizing
    millions of hyperparameters by implicit differentiation") do for plain SGD and Blondel et al. (2022) for
    fixed points in general. That is going back `terms` times through steps taken at the last point, from
    the last inner loss to the first and round again.

    `cg`: the gradient of the mean of the inner losses is taken for zero, and `jax.scipy.sparse.linalg.cg`
    solves with its Hessian plus `damping` · identity (Pedregosa 2016; Rajeswaran et al. 2019). The
    optimizer plays no part then: its weight decay belongs into `damping`, constrained parameters are not
    for it, and the state is held fixed. The Hessian plus damping must be positive definite.

    Bias: how far the inner problem is from converged, and what the series leaves out, (1 − learning rate ·
    curvature)^terms. What acts only on the way to the solution, such as a learning rate, gets no gradient.
    Cost: the inner steps, and for each term a Hessian-vector product (`cg`: one for each of the inner
    losses), whatever the number of steps. Memory: the activations of the different inner losses at one
    point.

    Args:
        problem: the losses and the optimizer.
        upper: upper-level variables.
        start: lower-level variables.
        rematerialise: without effect.
        terms: terms of the series, or at most so many iterations of conjugate gradients; 1 or more.
        solver: "neumann" or "cg".
        damping: for `cg`, not negative.
    """
    del rematerialise
    if terms < 1:
        raise UserError(f"terms={terms} leaves nothing of the series: give 1 or more.")
    if solver not in ("neumann", "cg"):
        raise UserError(f"Unknown solver '{solver}' of the implicit estimator: give 'neumann' or 'cg'.")
    lower = start
    for step in range(len(problem.inner_losses)):
        lower = advance(problem, step, upper, lower)
    value, aux, direct, cotangent = outer(problem, upper, lower)
    if solver == "neumann":
        indirect = _neumann(problem, upper, lower, cotangent, terms)
    else:
        indirect = _conjugate_gradients(problem, upper, lower, cotangent.params, terms, damping)
    return Hypergradient(value, add(direct, indirect), aux, *lower)


def _neumann(problem: Problem, upper: PyTree, lower: Lower, cotangent: Lower, terms: int) -> PyTree:
    steps = len(problem.inner_losses)
    pull = cache(lambda step: differentiable_advance(problem, step, upper, lower)[1])
    total = jax.tree.map(jnp.zeros_like, upper)
    for term in range(terms):
        of_upper, cotangent = pull((-1 - term) % steps)(cotangent)
        total = add(total, of_upper)
    return total


def _conjugate_gradients(
    problem: Problem, upper: PyTree, lower: Lower, cotangent: PyTree, terms: int, damping: float
) -> PyTree:
    def mean_loss(params, upper):
        steps = range(len(problem.inner_losses))
        return sum(problem.inner_loss(step, params, upper, lower.state)[0] for step in steps) / len(steps)

    _, tangent = jax.linearize(
        lambda params: jax.grad(mean_loss, argnums=(0, 1))(params, upper), lower.params
    )
    solution, _ = cg(lambda v: add(tangent(v)[0], optax.tree.scale(damping, v)), cotangent, maxiter=terms)
    return jax.tree.map(jnp.negative, tangent(solution)[1])
