import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from double import double_precision
from jax.test_util import check_grads

from jkd.losses.features import attention, match_size, mse, orthogonal_alignment, unit_vectors

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text())


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def test_pooling_agrees_with_pytorch():
    with double_precision():
        pooled, _ = match_size(draw(6, 1, 7, 5, 1), np.zeros((1, 4, 3, 2)))
        published = np.array(PUBLISHED["adaptive_avg_pool2d"])
        chex.assert_trees_all_close(pooled[0, :, :, 0], published, rtol=1e-10)


@pytest.mark.parametrize(("large", "small"), [((8, 8), (4, 4)), ((6, 4), (2, 4)), ((5, 9), (1, 3))])
def test_pooling_keeps_the_mean_where_sizes_divide(large, small):
    a, b = draw(0, 2, *large, 3), draw(1, 2, *small, 4)
    pooled, untouched = match_size(a, b)
    chex.assert_shape(pooled, (2, *small, 3))
    chex.assert_trees_all_close(pooled.mean(axis=(1, 2)), a.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    chex.assert_trees_all_equal(untouched, b)
    chex.assert_trees_all_equal(match_size(b, a), (untouched, pooled))


def test_each_axis_is_pooled_to_the_smaller():
    a, b = match_size(np.ones((2, 8, 3, 5)), np.ones((2, 5, 6, 7)))
    chex.assert_trees_all_close((a, b), (np.ones((2, 5, 3, 5)), np.ones((2, 5, 3, 7))), rtol=1e-6)


@pytest.mark.parametrize("loss", [mse, orthogonal_alignment, attention])
def test_equal_maps_have_no_loss_and_examples_are_apart(loss):
    a, b = draw(0, 3, 4, 4, 5), draw(1, 3, 4, 4, 5)
    chex.assert_trees_all_equal(loss(a, a), np.zeros(3, np.float32))
    last = loss(a[2:], b[2:])
    chex.assert_trees_all_close(loss(a, b)[2:], last, rtol=1e-6)


@pytest.mark.parametrize("loss", [mse, orthogonal_alignment])
def test_differing_channels_are_refused(loss):
    with pytest.raises(AssertionError):
        loss(np.ones((2, 4, 4, 1)), np.ones((2, 4, 4, 5)))


def test_mse_pools_the_larger():
    a, b = draw(0, 3, 4, 4, 5), draw(1, 3, 2, 2, 5)
    pooled = a.reshape(3, 2, 2, 2, 2, 5).mean(axis=(2, 4))
    chex.assert_trees_all_close(mse(a, b), np.mean((pooled - b) ** 2, axis=(1, 2, 3)), rtol=1e-5)


def test_alignment_is_twice_one_minus_the_mean_cosine():
    a, b = draw(0, 3, 4, 4, 5), draw(1, 3, 4, 4, 5)
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    expected = 2 - 2 * cosine.mean(axis=(1, 2))
    chex.assert_trees_all_close(orthogonal_alignment(a, b), expected, rtol=1e-5)
    chex.assert_trees_all_close(orthogonal_alignment(1e3 * a, 1e-3 * b), expected, rtol=1e-5)
    chex.assert_trees_all_close(orthogonal_alignment(a, -a), np.full(3, 4.0), rtol=1e-5)


@pytest.mark.parametrize("loss", [orthogonal_alignment, attention])
def test_zero_features_are_safe(loss):
    a, b = draw(0, 2, 3, 3, 4).astype(np.float32), draw(1, 2, 3, 3, 4).astype(np.float32)
    a[0, 1, 1], a[1], b[0, 2] = 0, 0, 0
    gradient = jax.grad(lambda a, b: loss(a, b).sum(), argnums=(0, 1))
    # Hypergradients differentiate twice.
    (gradient_a, gradient_b), second = jax.jit(lambda a, b: jax.jvp(gradient, (a, b), (b, a)))(a, b)
    chex.assert_tree_all_finite((loss(a, b), gradient_a, gradient_b, second))
    chex.assert_trees_all_equal(gradient_a[1], np.zeros((3, 3, 4), np.float32))


def test_unit_vectors():
    x = np.array([[3.0, 4.0], [0.0, 0.0], [1e-15, 0.0], [-1e8, 0.0]])
    expected = np.array([[0.6, 0.8], [0, 0], [0, 0], [-1, 0]], np.float32)
    chex.assert_trees_all_close(unit_vectors(x), expected, rtol=1e-6)


@pytest.mark.parametrize(("index", "shape"), [(0, (4, 5, 5, 3)), (1, (4, 4, 4, 3))])
def test_attention_agrees_with_published_code(index, shape):
    with double_precision():
        losses = attention(draw(3, 4, 8, 8, 5), draw(4 + index, *shape))
        chex.assert_trees_all_close(losses, np.array(PUBLISHED["attention"][index]), rtol=1e-10)


def test_attention_gradient_agrees_with_published_code():
    with double_precision():
        gradient = jax.jit(jax.grad(lambda a, b: attention(a, b).mean()))
        gradient = gradient(draw(3, 4, 8, 8, 5), draw(4, 4, 5, 5, 3))
        norm = np.linalg.norm(gradient)
        np.testing.assert_allclose(norm, PUBLISHED["attention_gradient_norm"], rtol=1e-10)


@pytest.mark.parametrize("loss", [mse, orthogonal_alignment, attention])
def test_gradients(loss):
    with double_precision():
        maps = jnp.asarray(draw(0, 2, 5, 4, 3)), jnp.asarray(draw(1, 2, 3, 3, 3))
        check_grads(jax.jit(loss), maps, order=1)
