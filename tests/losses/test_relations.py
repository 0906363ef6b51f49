import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from double import double_precision
from jax.test_util import check_grads

from jkd.losses.relations import angle, distance, similarity

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text())
RELATIONS = [similarity, distance, angle]


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


MAPS = draw(3, 4, 8, 8, 5).transpose(0, 3, 1, 2), draw(4, 4, 5, 5, 3).transpose(0, 3, 1, 2)
VECTORS = draw(7, 5, 6), draw(8, 5, 4)


@pytest.mark.parametrize(("loss", "inputs"), [(similarity, MAPS), (distance, VECTORS), (angle, VECTORS)])
def test_agrees_with_published_code(loss, inputs):
    with double_precision():
        value, gradient = jax.jit(jax.value_and_grad(lambda a, b: loss(a, b).mean()))(*inputs)
        name = loss.__name__
        np.testing.assert_allclose(value, PUBLISHED[name], rtol=1e-8)
        np.testing.assert_allclose(np.linalg.norm(gradient), PUBLISHED[f"{name}_gradient_norm"], rtol=1e-8)


@pytest.mark.parametrize("loss", RELATIONS)
def test_one_value_per_example_that_moves_with_it(loss):
    a, b = VECTORS
    order = np.array([3, 0, 4, 1, 2])
    losses = loss(a, b)
    chex.assert_shape(losses, (5,))
    chex.assert_trees_all_close(loss(a[order], b[order]), losses[order], rtol=1e-4)


@pytest.mark.parametrize("loss", RELATIONS)
def test_rotation_and_scale_of_a_representation_do_not_matter(loss):
    with double_precision():
        a, b = VECTORS
        rotation = np.linalg.qr(draw(9, 6, 6))[0]
        chex.assert_trees_all_close(loss(3 * a @ rotation, 0.1 * b), loss(a, b), rtol=1e-8)
        chex.assert_trees_all_close(loss(a, 3 * a @ rotation), np.zeros(5), atol=1e-20)


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize("degenerate", ["two alike", "all alike", "all zero"])
def test_repeated_examples_are_safe(loss, degenerate):
    a, b = (x.astype(np.float32) for x in VECTORS)
    if degenerate == "two alike":
        a[1] = a[0]
    else:
        a[:] = a[0] if degenerate == "all alike" else 0
    gradient = jax.grad(lambda a, b: loss(a, b).sum(), argnums=(0, 1))
    second = jax.jit(lambda a, b: jax.jvp(gradient, (a, b), (a, b)))
    chex.assert_tree_all_finite((loss(a, b), second(a, b)))


@pytest.mark.parametrize("loss", RELATIONS)
def test_gradients(loss):
    with double_precision():
        check_grads(jax.jit(loss), tuple(map(jnp.asarray, VECTORS)), order=1)
