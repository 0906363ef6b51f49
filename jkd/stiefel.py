"""The Stiefel manifold St(n, p) = {X ∈ ℝⁿˣᵖ : XᵀX = I}, and stochastic gradient descent on it.

Points are arrays [..., n, p] with n ≥ p; leading axes are a batch of points. The transformations
(`momentum`, `retraction`, `sgd`) are of optax's kind: mask them to the constrained leaves with `optax.masked`
or `optax.partition` and treat the others as you like. The geometry is that of Absil, Mahony and Sepulchre,
"Optimization Algorithms on Matrix Manifolds" (2008), with the Euclidean metric.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jkd.errors import UserError

# The Q factor is taken from Cholesky factors where two passes come this near to orthonormality (as a bound on
# the spectral norm): four Newton steps then make it so to rounding, in float64 too.
_NEAR, _NEWTON_STEPS = 0.1, 4

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
    product = _matmul(_transpose(x), gradient)
    return gradient - _matmul(x, (product + _transpose(product)) / 2)


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
    return _qf(x + tangent)


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
    # By Householder: drawn once, and a square one can be too ill-conditioned for `_qf` in float32.
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


@jax.custom_jvp
def _qf(a: Float[Array, "*batch n p"]) -> Float[Array, "*batch n p"]:
    """The Q factor of `a` whose R has a positive diagonal; where there is none, the identity's columns.

    Matrix products and two Cholesky factors, after Fukaya et al. 2020 ("Shifted Cholesky QR for computing the
    QR factorization of ill-conditioned matrices"): Householder QR of small matrices is slow on GPUs, and a
    branch to it would wait for the host. Ours: a pass is shifted only where it must be, and what is left
    after two is taken away by Newton steps for the Cholesky factor of a matrix near the identity, products
    alone.

    Columns that depend on each other to rounding (scaled to length 1, with a singular value below about three
    times `_shift`) have no Q factor that means anything: Householder's is orthonormal, and arbitrary.
    """
    eye = jnp.eye(a.shape[-1], dtype=a.dtype)
    largest = jnp.abs(a).max(-2, keepdims=True)
    q = a / jnp.where(largest > 0, largest, 1)  # first by itself: squares would overflow
    length = jnp.sqrt((q * q).sum(-2, keepdims=True))
    q = q / jnp.where(length > 0, length, 1)
    for _ in range(2):
        gram = _gram(q)
        q = _solve(_cholesky(gram + _shift(gram, sum(a.shape[-2:])) * eye), q)
    near = _norm(_gram(q) - eye) < _NEAR
    fallback = jnp.eye(a.shape[-2], a.shape[-1], dtype=a.dtype) + 0 * a  # what is not finite stays so
    q = jnp.where(near, q, fallback)
    for _ in range(_NEWTON_STEPS):
        error = _gram(q) - eye
        q = q - _matmul(q, jnp.triu(error, 1) + eye * error / 2)
    return q


@_qf.defjvp
def _qf_jvp(primals, tangents):
    """dQ = Q ρ(Qᵀ dA R⁻¹) + (I − QQᵀ) dA R⁻¹, ρ(M) = tril(M, −1) − tril(M, −1)ᵀ (Absil et al., ex. 8.1.5)."""
    (a,), (da,) = primals, tangents
    q = _qf(a)
    r = jnp.triu(_matmul(_transpose(q), a))
    scaled = _solve(r, da)
    coefficients = _matmul(_transpose(q), scaled)
    lower = jnp.tril(coefficients, -1)
    return q, scaled + _matmul(q, lower - _transpose(lower) - coefficients)


def _norm(a: Float[Array, "*batch p p"]) -> Float[Array, "*batch 1 1"]:
    """A bound on the spectral norm of a symmetric matrix: the largest sum of a row."""
    return jnp.abs(a).sum(-1, keepdims=True).max(-2, keepdims=True)


def _shift(gram: Float[Array, "*batch p p"], terms: int) -> Float[Array, "*batch 1 1"]:
    """What keeps a Cholesky factor from failing: a few roundings of the Gram matrix; 0 near the identity."""
    rounding = 4 * math.sqrt(terms) * jnp.finfo(gram.dtype).eps
    norm = _norm(gram)
    near = _norm(gram - jnp.eye(gram.shape[-1], dtype=gram.dtype)) < 0.5
    return jnp.where(near, 0, rounding * jnp.maximum(norm, 1))


def _gram(a: Float[Array, "*batch n p"]) -> Float[Array, "*batch p p"]:
    return _matmul(_transpose(a), a)


def _cholesky(a: Float[Array, "*batch p p"]) -> Float[Array, "*batch p p"]:
    return jnp.linalg.cholesky(a, upper=True, symmetrize_input=False)


def _solve(r: Float[Array, "*batch p p"], b: Float[Array, "*batch n p"]) -> Float[Array, "*batch n p"]:
    """B R⁻¹ for an upper triangular R."""
    return lax.linalg.triangular_solve(r, b, left_side=False, lower=False)


def _matmul(a: Array, b: Array) -> Array:
    # GPUs and TPUs round the factors of a float32 product to fewer digits unless told not to.
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _transpose(a: Array) -> Array:
    return jnp.swapaxes(a, -1, -2)


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
