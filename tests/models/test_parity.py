"""Every network computes what its published PyTorch definition does."""

from functools import partial

import chex
import jax
import numpy as np
import optax
import pytest
import tiny
from double import double_precision
from pytorch_reference import CLASSES, REFERENCE, images, state_dict

from jkd import models
from jkd.interop.torch import from_state_dict, to_state_dict

NAMES = [name for name in models.names() if name not in tiny.NETWORKS]
SIZES = {"evaluation": 32, "evaluation_64": 64}  # of the images
SLOW = {
    *("ResNet50", "MobileNetV2_1_0", "ShuffleV2", "RegNetX_400MF", "RegNetY_400MF"),
    *(f"resnet{kind}_imagenet" for kind in ("34", "34x2", "34x4", "50", "101")),
}
SLOW_TRAINING = {
    *("MobileNetV2", "ShuffleV1", "ShuffleV2_0_5", "RegNetY_400MF"),
    *("mobilenet_v2_imagenet", "shufflenet_v2_x1_0_imagenet"),
}
# Compiles in half the time; what is computed is the same to rounding.
QUICK = {"xla_backend_optimization_level": 0}


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
    model = models.create(name, CLASSES)
    outputs = jax.jit(partial(model.apply, train=False), compiler_options=QUICK)(variables, images(size))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected["parameters"]
    assert_close(outputs.logits, expected["logits"])
    for actual, feature in zip(outputs.features, expected["features"], strict=True):
        assert_feature(actual, feature)
    assert_feature(outputs.embedding, expected["embedding"])


def cases(given, slow):
    """What `given` is parametrized with, marked slow where its network's name is among `slow`."""
    return [pytest.param(*case, marks=pytest.mark.slow if case[-1] in slow else ()) for case in given]


def test_reference_has_every_network():
    assert {name for kind in SIZES for name in REFERENCE[kind]} == set(NAMES)


@pytest.mark.parametrize(("kind", "name"), cases(((k, n) for k in SIZES for n in REFERENCE[k]), SLOW))
def test_evaluation(kind, name):  # vgg8 is there twice: it pools once more for 64x64
    assert_evaluation(name, SIZES[kind], REFERENCE[kind][name])


@pytest.mark.parametrize("name", cases(((name,) for name in REFERENCE["training"]), SLOW_TRAINING))
def test_training(name):
    with double_precision():  # rounding in float32 moves ShuffleV1's gradients by 3e-4
        assert_training(name, REFERENCE["training"][name])


def assert_training(name, expected):
    model = models.create(name, CLASSES, np.float64)
    if name == "mobilenet_v2_imagenet":
        model = model.clone(dropout=0.0)  # as in the reference: PyTorch draws other numbers
    x = images(64 if name.endswith("_imagenet") else 32)
    variables, x = jax.tree.map(
        lambda leaf: leaf.astype(np.float64), (from_state_dict(name, state_dict(name)), x)
    )

    def loss(params):
        outputs, updates = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(outputs.logits, np.arange(2)).mean(), updates

    step = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK)
    (value, updates), gradients = step(variables["params"])
    assert value == pytest.approx(expected["loss"], rel=1e-4)

    norms = jax.tree.map(np.linalg.norm, to_state_dict({"params": gradients}))
    largest = max(expected["gradient_norms"].values())
    chex.assert_trees_all_close(norms, expected["gradient_norms"], rtol=1e-4, atol=1e-5 * largest)

    sums = jax.tree.map(lambda leaf: np.abs(leaf.astype(np.float64)).sum(), to_state_dict(updates))
    chex.assert_trees_all_close(sums, expected["running_sums"], rtol=1e-5)
