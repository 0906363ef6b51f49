"""Every network computes what its published PyTorch definition does."""

import chex
import jax
import numpy as np
import optax
import pytest
import tiny
from pytorch_reference import CLASSES, REFERENCE, images, state_dict

from jkd import models
from jkd.interop.torch import from_state_dict, to_state_dict

NAMES = [name for name in models.names() if name not in tiny.NETWORKS]


def assert_close(actual, expected):
    """Within 1e-4 of the largest value."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def assert_feature(actual, expected):
    """`actual` is NHWC (or NC), the reference's summary is of NCHW."""
    nchw = np.moveaxis(np.asarray(actual, np.float64), -1, 1)
    assert list(nchw.shape) == expected["shape"]
    np.testing.assert_allclose(
        [nchw.mean(), nchw.std()], [expected["mean"], expected["std"]], rtol=0, atol=1e-4 * expected["std"]
    )
    scale = max(np.abs(expected["first"]).max(), expected["std"])
    np.testing.assert_allclose(nchw.ravel()[:8], expected["first"], rtol=0, atol=1e-4 * scale)


def assert_evaluation(name, size, expected):
    variables = from_state_dict(name, state_dict(name))
    # Not under jit: the layers' own programs are shared between networks, and resnet110 takes 0.6 s.
    outputs = models.create(name, CLASSES).apply(variables, images(size), train=False)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected["parameters"]
    assert_close(outputs.logits, expected["logits"])
    for actual, feature in zip(outputs.features, expected["features"], strict=True):
        assert_feature(actual, feature)
    assert_feature(outputs.embedding, expected["embedding"])


def test_reference_has_every_network():
    assert set(REFERENCE["evaluation"]) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_evaluation(name):
    assert_evaluation(name, 32, REFERENCE["evaluation"][name])


def test_vgg_pools_once_more_for_64x64():
    assert_evaluation("vgg8", 64, REFERENCE["evaluation_64"]["vgg8"])


@pytest.mark.parametrize("name", REFERENCE["training"])
def test_training(name):
    expected = REFERENCE["training"][name]
    variables = from_state_dict(name, state_dict(name))
    model = models.create(name, CLASSES)

    def loss(params):
        outputs, updates = model.apply(
            {**variables, "params": params}, images(32), train=True, mutable=["batch_stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(outputs.logits, np.arange(2)).mean(), updates

    (value, updates), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    assert value == pytest.approx(expected["loss"], rel=1e-4)

    norms = jax.tree.map(np.linalg.norm, to_state_dict({"params": gradients}))
    largest = max(expected["gradient_norms"].values())
    chex.assert_trees_all_close(norms, expected["gradient_norms"], rtol=1e-4, atol=1e-5 * largest)

    sums = jax.tree.map(lambda leaf: np.abs(leaf.astype(np.float64)).sum(), to_state_dict(updates))
    chex.assert_trees_all_close(sums, expected["running_sums"], rtol=1e-5)
