"""The Stiefel manifold St(n, p) = {X ∈ ℝⁿˣᵖ : XᵀX = I}, and stochastic gradient descent on it.

Points are arrays [..., n, p] with n ≥ p; leading axes are a batch of points. The transformations
(`momentum`, `retraction`, `sgd`) are of optax's kind: mask them to the constrained leaves with `optax.masked`
or `optax.partition` and treat the others as you like. The geometry is that of Absil, Mahony and Sepulchre,
"Optimization Algorithms on Matrix Manifolds" (2008), with the Euclidean metric.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jkd.errors import UserError
from jkd.qr import matmul, q_factor, transpose

_NO_PARAMS = (
    "A step on the Stiefel manifold starts from a point: call update(updates, state, params), with params."
)


def project_tangent(
    x: Float[Array, "*batch n p"], gradient: Float[Array, "*batch n p"]
) -> Float[Array, "*batch n p"]:
    """Orthogonal projection of `gradient` onto the tangent space at `x`: G − X sym(XᵀG), sym(A) = (A + Aᵀ)/2.

    Absil et al. (2008), equation 3.35 with the Euclidean metric. The result T satisfies XᵀT + TᵀX = 0.

    Args:
        x: points on the manifold.
        gradient: any matrices of the same shape, such as Euclidean gradients.

    Returns:
        The tangent vectors.

    Raises:
        UserError: if `x` is not [..., n, p] with n ≥ p, or the shapes differ.
    """
    _check(x, gradient)
    product = matmul(transpose(x), gradient)
    return gradient - matmul(x, (product + transpose(product)) / 2)


def retract(x: Float[Array, "*batch n p"], tangent: Float[Array, "*batch n p"]) -> Float[Array, "*batch n p"]:
    """QR retraction R_X(T) = qf(X + T), qf being the Q factor whose R has a positive diagonal.

    Absil et al. (2008), equation 4.8. For a tangent T the singular values of X + T are at least 1, so the
    result exists and is differentiable for every T; for other matrices X + T must have full column rank.
    Derivatives of any order are those of the closed form. Where X + T lacks full rank to rounding, the result
    is the first columns of the identity, and its derivatives are nothing to go by.

    Args:
        x: points on the manifold.
        tangent: tangent vectors at `x`, already scaled by the step size.

    Returns:
        Points on the manifold, orthonormal to rounding.

    Raises:
        UserError: if `x` is not [..., n, p] with n ≥ p, or the shapes differ.
    """
    _check(x, tangent)
    return q_factor(x + tangent)


def random_point(
    key: PRNGKeyArray, shape: Sequence[int], dtype: jax.typing.DTypeLike = float
) -> Float[Array, "*batch n p"]:
    """Points drawn from the uniform (Haar) distribution: qf of a standard normal matrix.

    Args:
        key: random key.
        shape: [..., n, p] with n ≥ p.
        dtype: float32 or float64.

    Returns:
        Independent points for each index of the leading axes.

    Raises:
        UserError: if `shape` is not [..., n, p] with n ≥ p.
    """
    _check_shape(tuple(shape))
    # By Householder: drawn once, and a square one can be too ill-conditioned for `q_factor` in float32.
    q, r = jnp.linalg.qr(jax.random.normal(key, tuple(shape), dtype))
    return q * jnp.where(jnp.diagonal(r, axis1=-2, axis2=-1) < 0, -1, 1)[..., None, :].astype(q.dtype)


class MomentumState(NamedTuple):
    """The running sum of tangent vectors, one per point."""

    velocity: PyTree


def momentum(decay: float = 0.0, nesterov: bool = False) -> optax.GradientTransformation:
    """Turns Euclidean gradients into tangent vectors and adds momentum to them.

    The gradient and the velocity M are both projected onto the tangent space at the present point X:
    M ← decay · P_X(M) + P_X(G). Projection is the vector transport that needs no more than the present point
    (Absil et al. 2008, section 8.1.3).

    Args:
        decay: in [0, 1); 0 is no momentum.
        nesterov: emit P_X(G) + decay · M in place of M, as `optax.trace` does.

    Returns:
        A transformation whose `update` needs `params`, the present points.
    """

    def init(params: PyTree) -> MomentumState:
        jax.tree.map(lambda x: _check_shape(jnp.shape(x)), params)
        return MomentumState(jax.tree.map(jnp.zeros_like, params))

    def update(gradients: PyTree, state: MomentumState, params: PyTree | None = None):
        if params is None:
            raise UserError(_NO_PARAMS)
        tangent = jax.tree.map(project_tangent, params, gradients)
        velocity = jax.tree.map(
            lambda x, m, t: decay * project_tangent(x, m) + t, params, state.velocity, tangent
        )
        step = jax.tree.map(lambda t, m: t + decay * m, tangent, velocity) if nesterov else velocity
        return step, MomentumState(velocity)

    return optax.GradientTransformation(init, update)


def retraction() -> optax.GradientTransformation:
    """Turns steps T in the tangent space into updates to be added, R_X(T) − X. Last in a chain.

    Returns:
        A stateless transformation whose `update` needs `params`, the present points.
    """

    def update(steps: PyTree, params: PyTree | None = None) -> PyTree:
        if params is None:
            raise UserError(_NO_PARAMS)
        return jax.tree.map(lambda x, t: retract(x, t) - x, params, steps)

    return optax.stateless(update)


def sgd(
    learning_rate: optax.ScalarOrSchedule, momentum: float = 0.0, nesterov: bool = False
) -> optax.GradientTransformation:
    """Stochastic gradient descent on the manifold: `momentum`, the learning rate, `retraction`.

    Args:
        learning_rate: a number or a schedule of optax.
        momentum: decay of the velocity, in [0, 1).
        nesterov: look ahead along the velocity.

    Returns:
        A transformation whose `update` needs `params`, the present points.
    """
    return optax.chain(
        _momentum(momentum, nesterov), optax.scale_by_learning_rate(learning_rate), retraction()
    )


_momentum = momentum  # `sgd` names its argument as optax.sgd does


def _check(x: Array, vector: Array) -> None:
    _check_shape(jnp.shape(x))
    if jnp.shape(x) != jnp.shape(vector):
        raise UserError(
            f"A point of shape {jnp.shape(x)} needs a vector of that shape, not {jnp.shape(vector)}."
        )


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) < 2 or shape[-2] < shape[-1] or shape[-1] < 1:
        raise UserError(
            f"A point on the Stiefel manifold has shape [..., n, p] with n >= p >= 1, not {shape}."
        )
