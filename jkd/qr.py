"""The Q factor of tall matrices by products and Cholesky factors, for accelerators as for the CPU.

Arrays are [..., n, p] with n ≥ p; leading axes are a batch of matrices.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# The Q factor is taken from Cholesky factors where two passes come this near to orthonormality (as a bound on
# the spectral norm): four Newton steps then make it so to rounding, in float64 too.
_NEAR, _NEWTON_STEPS = 0.1, 4


@jax.custom_jvp
def q_factor(a: Float[Array, "*batch n p"]) -> Float[Array, "*batch n p"]:
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
        q = q - matmul(q, jnp.triu(error, 1) + eye * error / 2)
    return q


@q_factor.defjvp
def _q_factor_jvp(primals, tangents):
    """dQ = Q ρ(Qᵀ dA R⁻¹) + (I − QQᵀ) dA R⁻¹, ρ(M) = tril(M, −1) − tril(M, −1)ᵀ (Absil et al., ex. 8.1.5)."""
    (a,), (da,) = primals, tangents
    q = q_factor(a)
    r = jnp.triu(matmul(transpose(q), a))
    scaled = _solve(r, da)
    coefficients = matmul(transpose(q), scaled)
    lower = jnp.tril(coefficients, -1)
    return q, scaled + matmul(q, lower - transpose(lower) - coefficients)


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
    return matmul(transpose(a), a)


def _cholesky(a: Float[Array, "*batch p p"]) -> Float[Array, "*batch p p"]:
    return jnp.linalg.cholesky(a, upper=True, symmetrize_input=False)


def _solve(r: Float[Array, "*batch p p"], b: Float[Array, "*batch n p"]) -> Float[Array, "*batch n p"]:
    """B R⁻¹ for an upper triangular R."""
    return lax.linalg.triangular_solve(r, b, left_side=False, lower=False)


def matmul(a: Array, b: Array) -> Array:
    """A B with all digits: GPUs and TPUs round the factors of a float32 product unless told not to."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def transpose(a: Array) -> Array:
    """Aᵀ of each matrix."""
    return jnp.swapaxes(a, -1, -2)
