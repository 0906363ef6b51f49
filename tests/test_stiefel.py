import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from double import double_precision
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jkd import stiefel
from jkd.errors import UserError

SHAPES = st.sampled_from([(1, 1), (4, 4), (7, 3), (2, 3, 5, 2)])


def residual(x):
    return float(jnp.abs(jnp.swapaxes(x, -1, -2) @ x - jnp.eye(x.shape[-1], dtype=x.dtype)).max())


def reference_qf(a):
    """LAPACK's QR with the signs fixed, in numpy and float64."""
    q, r = np.linalg.qr(np.asarray(a, np.float64))
    return q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


def tangent_at(x, key, scale=1.0):
    return scale * stiefel.project_tangent(x, jax.random.normal(key, x.shape, x.dtype))


@settings(max_examples=6, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**31), double=st.booleans())
def test_projection_is_tangent_idempotent_and_self_adjoint(shape, seed, double):
    with double_precision(double):
        dtype, tolerance = (jnp.float64, 1e-12) if double else (jnp.float32, 2e-5)
        keys = jax.random.split(jax.random.key(seed), 3)
        x = stiefel.random_point(keys[0], shape, dtype)
        g, h = (jax.random.normal(key, shape, dtype) for key in keys[1:])
        t = stiefel.project_tangent(x, g)
        assert t.dtype == dtype
        product = jnp.swapaxes(x, -1, -2) @ t
        chex.assert_trees_all_close(product, -jnp.swapaxes(product, -1, -2), atol=tolerance)
        chex.assert_trees_all_close(stiefel.project_tangent(x, t), t, atol=tolerance)
        chex.assert_trees_all_close(
            jnp.vdot(t, h), jnp.vdot(g, stiefel.project_tangent(x, h)), atol=20 * tolerance
        )


@settings(max_examples=10, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**31), double=st.booleans(), exponent=st.integers(-8, 25))
def test_retraction_is_the_q_factor_for_any_length_of_the_step(shape, seed, double, exponent):
    with double_precision(double):
        dtype, tolerance = (jnp.float64, 1e-12) if double else (jnp.float32, 5e-6)
        key, other = jax.random.split(jax.random.key(seed))
        x = stiefel.random_point(key, shape, dtype)
        y = stiefel.retract(x, tangent_at(x, other, 10.0**exponent))
        assert y.dtype == dtype
        assert residual(x) < tolerance and residual(y) < tolerance


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6, 1e30])
@pytest.mark.parametrize("spread", [0.0, 3.0, 6.0, 12.0])
def test_retraction_agrees_with_lapack(scale, spread):
    """Also where the Gram matrix overflows (scale) or is singular (spread: decades of singular values)."""
    with double_precision():
        keys = jax.random.split(jax.random.key(3), 3)
        a = stiefel.random_point(keys[0], (3, 9, 5), float) * jnp.logspace(0, -spread, 5)
        a = scale * (a @ stiefel.random_point(keys[1], (5, 5), float))
        q = stiefel.retract(jnp.zeros_like(a), a)
        assert residual(q) < 1e-13
        # Q is determined only up to the condition number of A.
        chex.assert_trees_all_close(q, reference_qf(a), atol=1e-14 * 10**spread + 1e-13)
        single = stiefel.retract(jnp.zeros((3, 9, 5), jnp.float32), a.astype(jnp.float32))
        assert single.dtype == jnp.float32 and residual(single) < 3e-6


def difficult(n, p, rng):
    """Matrices of which a Q factor is hard to find, or is none."""
    normal = rng.standard_normal
    yield "zero", np.zeros((n, p))
    yield "equal columns", np.ones((n, p))
    yield "equal columns, negative", -np.ones((n, p))
    yield "one rank missing", normal((n, p - 1)) @ normal((p - 1, p))
    yield "half the rank", normal((n, p // 2)) @ normal((p // 2, p))
    yield "a column of zeros", np.eye(n, p) * (np.arange(p) < p - 1)
    yield "Hilbert", 1 / (np.arange(n)[:, None] + np.arange(p) + 1)
    yield "Kahan", np.tril(np.full((n, p), -0.36), -1)[:, ::-1] + np.eye(n, p)[:, ::-1]
    yield "rows of every length", normal((n, p)) * np.logspace(0, -30, n)[:, None]
    yield "columns of every length", normal((n, p)) * np.logspace(0, -30, p)
    yield "huge", 1e37 * normal((n, p))
    yield "tiny", 1e-30 * normal((n, p))
    for decades in (2, 4, 6, 8, 10, 12, 20):
        left, right = (np.linalg.qr(normal((size, p)))[0] for size in (n, p))
        yield f"{decades} decades", (left * np.logspace(0, -decades, p)) @ right
        yield f"one value {decades} decades below", (left * np.r_[np.ones(p - 1), 10.0**-decades]) @ right


@pytest.mark.parametrize("shape", [(2, 2), (9, 4), (48, 48), (90, 60)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_retraction_of_whatever_is_orthonormal_and_as_householders(shape, dtype):
    """In one batch, so that none is spoilt by its neighbours."""
    names, matrices = zip(*difficult(*shape, np.random.default_rng(0)), strict=True)
    with double_precision():
        a = jnp.asarray(np.stack(matrices), dtype)
        q = np.asarray(jax.jit(jax.vmap(stiefel.retract))(jnp.zeros_like(a), a), np.float64)
        eps = float(jnp.finfo(dtype).eps)
    scaled = np.array(a, np.float64)
    scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-300)
    for name, of_one, columns, expected in zip(names, q, scaled, reference_qf(scaled), strict=True):
        assert np.abs(of_one.T @ of_one - np.eye(shape[1])).max() < 3 * sum(shape) * eps, name
        values = np.linalg.svd(columns, compute_uv=False)
        condition = values[0] / max(values[-1], 1e-300)
        if values[-1] > 0 and condition * eps < 1e-5:
            np.testing.assert_allclose(of_one, expected, atol=10 * condition * eps + 10 * eps, err_msg=name)


def test_what_is_not_finite_is_not_hidden():
    x = stiefel.random_point(jax.random.key(0), (4, 2))
    for bad in (jnp.nan, jnp.inf):
        assert not jnp.isfinite(stiefel.retract(x, x.at[1, 1].set(bad))).all()


def test_the_program_of_a_retraction_has_no_branch():
    x = jnp.zeros((2, 6, 3))
    text = jax.jit(jax.grad(lambda t: stiefel.retract(x, t).sum())).lower(x).as_text()
    assert "cholesky" in text or "potrf" in text
    assert "stablehlo.case" not in text and "stablehlo.if" not in text and "stablehlo.while" not in text


def test_retraction_is_of_first_order_and_stays_at_zero():
    with double_precision():
        x = stiefel.random_point(jax.random.key(0), (6, 3), float)
        t = tangent_at(x, jax.random.key(1))
        chex.assert_trees_all_close(stiefel.retract(x, 0 * t), x, atol=1e-14)
        _, velocity = jax.jvp(lambda s: stiefel.retract(x, s * t), (0.0,), (1.0,))
        chex.assert_trees_all_close(velocity, t, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e9])  # the matrix products, and the general QR
@pytest.mark.parametrize("vmap", [False, True])
def test_derivatives(scale, vmap):
    with double_precision():
        x = stiefel.random_point(jax.random.key(0), (2, 5, 3), float)
        t = tangent_at(x, jax.random.key(1))
        stretch = jnp.array([1.0, 1.0, 1 / scale])  # qf does not see it, the Gram matrix's condition does
        retract = jax.vmap(stiefel.retract) if vmap else stiefel.retract

        def f(t):
            return retract(x * stretch, t * stretch)

        chex.assert_trees_all_close(f(t), reference_qf(x + t), atol=1e-6)
        check_grads(f, (t,), order=2, modes=["fwd", "rev"], atol=1e-5, rtol=1e-5)


def test_derivative_equals_that_of_the_library():
    with double_precision():
        x = stiefel.random_point(jax.random.key(0), (5, 3), float)
        t = tangent_at(x, jax.random.key(1))
        weights = jax.random.normal(jax.random.key(2), (5, 3), float)

        def library(t):
            q, r = jnp.linalg.qr(x + t)
            return (weights * q * jnp.sign(jnp.diagonal(r))).sum()

        ours = jax.grad(lambda t: (weights * stiefel.retract(x, t)).sum())(t)
        chex.assert_trees_all_close(ours, jax.grad(library)(t), rtol=1e-10)


def test_random_points_are_uniform():
    points = stiefel.random_point(jax.random.key(0), (4000, 4, 2))
    # Haar: every entry has mean 0 and variance 1/n.
    chex.assert_trees_all_close(points.mean(0), jnp.zeros((4, 2)), atol=0.04)
    chex.assert_trees_all_close((points**2).mean(0), jnp.full((4, 2), 0.25), atol=0.02)


def test_ten_thousand_float32_steps_stay_on_the_manifold():
    optimizer = stiefel.sgd(0.1, momentum=0.9, nesterov=True)
    x = stiefel.random_point(jax.random.key(0), (2, 16, 8))

    def step(carry, key):
        x, state = carry
        updates, state = optimizer.update(jax.random.normal(key, x.shape), state, x)
        x = optax.apply_updates(x, updates)
        return (x, state), jnp.abs(jnp.swapaxes(x, -1, -2) @ x - jnp.eye(8)).max()

    keys = jax.random.split(jax.random.key(1), 10_000)
    (_, state), residuals = jax.jit(lambda x: jax.lax.scan(step, (x, optimizer.init(x)), keys))(x)
    assert residuals.max() < 1e-5
    chex.assert_tree_all_finite(state)


def test_descent_finds_the_dominant_subspace():
    with double_precision():
        a = jnp.diag(jnp.array([5.0, 4.0, 1.0, 0.5, 0.1]))
        optimizer = stiefel.sgd(optax.cosine_decay_schedule(0.05, 200), momentum=0.9)
        x = stiefel.random_point(jax.random.key(0), (5, 2), float)
        state = optimizer.init(x)

        @jax.jit
        def step(x, state):
            updates, state = optimizer.update(jax.grad(lambda x: -jnp.trace(x.T @ a @ x))(x), state, x)
            return optax.apply_updates(x, updates), state

        for _ in range(200):
            x, state = step(x, state)
        chex.assert_trees_all_close(jnp.trace(x.T @ a @ x), 9.0, atol=1e-6)


def test_momentum_at_a_fixed_point_is_that_of_optax():
    """At a point that does not move the tangent space does not turn: plain momentum must come out."""
    x = jnp.array([[1.0], [0.0], [0.0]])
    gradient = jnp.array([[3.0], [2.0], [1.0]])
    tangent = gradient.at[0].set(0)
    for nesterov in (False, True):
        ours, plain = stiefel.momentum(0.9, nesterov), optax.trace(0.9, nesterov)
        state, plain_state = ours.init(x), plain.init(x)
        for _ in range(3):
            step, state = ours.update(gradient, state, x)
            expected, plain_state = plain.update(tangent, plain_state)
            chex.assert_trees_all_close(step, expected, rtol=1e-6)


@pytest.mark.parametrize("combine", ["partition", "masked"])
def test_mixed_tree(combine):
    """Projections stay on the manifold, others see ordinary SGD; the steps can be differentiated."""
    params = {"projection": stiefel.random_point(jax.random.key(0), (6, 3)), "kernel": jnp.ones((3, 6))}
    labels = {"projection": "stiefel", "kernel": "plain"}
    if combine == "partition":
        optimizer = optax.partition({"stiefel": stiefel.sgd(0.1, 0.9), "plain": optax.sgd(0.1, 0.9)}, labels)
    else:
        on, off = ({k: (v == label) for k, v in labels.items()} for label in ("stiefel", "plain"))
        optimizer = optax.chain(
            optax.masked(stiefel.sgd(0.1, 0.9), on), optax.masked(optax.sgd(0.1, 0.9), off)
        )
    gradients = jax.tree.map(lambda p: jax.random.normal(jax.random.key(1), p.shape), params)

    @jax.jit
    def two_steps(gradients):
        present, state = params, optimizer.init(params)
        for _ in range(2):
            updates, state = optimizer.update(gradients, state, present)
            present = optax.apply_updates(present, updates)
        return present

    present = two_steps(gradients)
    assert residual(present["projection"]) < 2e-6
    assert float(jnp.abs(present["projection"] - params["projection"]).max()) > 0.05
    chex.assert_trees_all_close(present["kernel"], params["kernel"] - 0.29 * gradients["kernel"], rtol=1e-5)
    derivative = jax.grad(lambda g: sum(jnp.sum(p**3) for p in jax.tree.leaves(two_steps(g))))(gradients)
    chex.assert_tree_all_finite(derivative)
    assert all(float(jnp.abs(d).max()) > 0 for d in jax.tree.leaves(derivative))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (4, 2, 3), ()])
def test_impossible_shapes_are_named(shape):
    for call in (
        lambda: stiefel.random_point(jax.random.key(0), shape),
        lambda: stiefel.retract(jnp.zeros(shape), jnp.zeros(shape)),
        lambda: stiefel.project_tangent(jnp.zeros(shape), jnp.zeros(shape)),
        lambda: stiefel.sgd(0.1).init({"kernel": jnp.zeros(shape)}),
    ):
        with pytest.raises(UserError, match=str(shape).replace("(", r"\(").replace(")", r"\)")):
            call()


def test_shapes_that_differ_and_missing_points_are_told():
    with pytest.raises(UserError, match=r"\(3, 2\).*\(2, 3, 2\)"):
        stiefel.retract(jnp.zeros((3, 2)), jnp.zeros((2, 3, 2)))
    for transformation in (stiefel.momentum(0.9), stiefel.retraction()):
        x = stiefel.random_point(jax.random.key(0), (3, 2))
        with pytest.raises(UserError, match="params"):
            transformation.update(x, transformation.init(x))
