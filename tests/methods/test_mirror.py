"""Mirror descent: where weights settle, and what they do not mind."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from jkd.methods.mirror import mirror_descent, weights


def settled(usefulness, prior=0.2, steps=400, noise=0.0):
    """The weights after so many updates by the gradient of −⟨usefulness, w⟩, with noise on it."""
    optimizer = mirror_descent(0.1, prior)
    usefulness = jnp.asarray(usefulness)

    def step(carry, key):
        u, state = carry
        h = usefulness + noise * jax.random.normal(key, usefulness.shape)
        updates, state = optimizer.update(jax.grad(lambda u: -weights(u) @ h)(u), state, u)
        return (optax.apply_updates(u, updates), state), None

    u = jnp.zeros(len(usefulness))
    keys = jax.random.split(jax.random.key(0), steps)
    (u, _), _ = jax.lax.scan(step, (u, optimizer.init(u)), keys)
    return weights(u)


def test_weights_are_a_softmax_whose_gradient_is_the_one_by_the_weights():
    u = jnp.asarray([0.5, -1.0, 2.0])
    chex.assert_trees_all_close(weights(u), jax.nn.softmax(u), rtol=1e-6)
    h = jnp.asarray([1.0, 2.0, -3.0])
    chex.assert_trees_all_close(jax.grad(lambda u: weights(u) @ h)(u), h)


@pytest.mark.parametrize("prior", [0.2, 1.0])
def test_they_settle_at_the_softmax_of_relative_usefulness_over_the_prior(prior):
    h = jnp.asarray([3.0, 2.5, -1.0])
    expected = jax.nn.softmax(h / jnp.sqrt((h**2).mean()) / prior)
    chex.assert_trees_all_close(settled(h, prior), expected, atol=1e-3)
    chex.assert_trees_all_close(settled(1e-6 * h, prior), expected, atol=1e-3)


def test_a_small_advantage_stays_small_and_a_useless_teacher_is_left():
    good, better, useless = settled([1.0, 1.05, 0.0], noise=0.3)
    assert useless < 0.02
    assert 0.3 < good < 0.7 and 0.3 < better < 0.7


def test_without_a_gradient_they_stay_where_the_prior_has_them():
    chex.assert_trees_all_close(settled([0.0, 0.0]), jnp.full(2, 0.5))
