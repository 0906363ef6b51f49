"""What every network promises, whatever its weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from double import double_precision
from flax.traverse_util import flatten_dict
from pytorch_reference import CLASSES, images, state_dict

from jkd import models
from jkd.errors import UserError
from jkd.interop.torch import from_state_dict

OLDEST = ["resnet8", "wrn_16_1", "vgg8"]  # whose stems leave the map as large as the images
OTHERS = [
    *("MobileNetV2", "ShuffleV1", "ShuffleV2_0_5", "RegNetY_400MF"),
    *("resnet10_imagenet", "mobilenet_v2_imagenet", "shufflenet_v2_x1_0_imagenet"),
]
FAMILIES = pytest.mark.parametrize("name", [*OLDEST, *OTHERS])
# How much smaller than the images a stem's map is.
STRIDES = {
    "MobileNetV2": 2,
    "mobilenet_v2_imagenet": 2,
    "resnet10_imagenet": 4,
    "shufflenet_v2_x1_0_imagenet": 4,
}
# Compiles in half the time; what is computed is the same to rounding.
QUICK = {"xla_backend_optimization_level": 0}
# They start with PyTorch's own values, the others with He et al.'s.
UNIFORM = ("ShuffleV1", "ShuffleV2_0_5", "RegNetY_400MF", "shufflenet_v2_x1_0_imagenet")


def signature(name, dtype=jnp.float32, **kwargs):
    """The shapes and types of a network's variables, and of its outputs with their updates."""
    model = models.create(name, CLASSES, dtype)
    key, image = jax.random.key(0), jnp.zeros((2, *kwargs.pop("size", (16, 16)), 3), dtype)
    variables = jax.eval_shape(model.init, key, image)
    return variables, jax.eval_shape(lambda v: model.apply(v, image, **kwargs), variables)


@FAMILIES
@pytest.mark.parametrize("size", [(8, 8), (33, 40)])
def test_any_size_of_image(name, size):
    _, outputs = signature(name, size=size)
    chex.assert_shape(outputs.logits, (2, CLASSES))
    stride = STRIDES.get(name, 1)
    chex.assert_shape(outputs.features[0], (2, *(-(-side // stride) for side in size), None))
    chex.assert_shape(outputs.embedding, (2, outputs.features[-1].shape[-1]))


def test_odd_sizes_are_halved_as_in_pytorch():
    _, pooled = signature("vgg8", size=(33, 7))
    _, strided = signature("resnet8", size=(33, 7))
    chex.assert_shape(pooled.features[1], (2, 16, 3, None))
    chex.assert_shape(strided.features[2], (2, 17, 4, None))


@pytest.mark.parametrize("name", [*OLDEST, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_initial_values_are_the_originals(name):
    model = models.create(name, CLASSES)
    # The default generator takes seconds to compile for so many shapes.
    init = jax.jit(model.init, compiler_options=QUICK)
    params = init(jax.random.key(0, impl="rbg"), images(16))["params"]
    uniform = name in UNIFORM
    for path, leaf in flatten_dict(params).items():
        *_, module, kind = path
        if leaf.ndim == 4:
            assert kind == "kernel"
            rows, columns, inputs, features = leaf.shape
            deviation = (
                (1 / 3 if uniform else 2) / (rows * columns * (inputs if uniform else features))
            ) ** 0.5
            # The deviation of n samples is off by a factor of about 1 ± 1/sqrt(2n); five times that.
            assert np.std(leaf) == pytest.approx(deviation, rel=5 / (2 * leaf.size) ** 0.5)
        elif module.startswith("classifier") and kind == "kernel":
            assert np.std(leaf) == pytest.approx(0.01, rel=0.1)
        elif module in ("fc", "linear", "se_se1", "se_se2") and (kind, name) != ("bias", "wrn_16_1"):
            bound = np.prod(params_of(params, path[:-1])["kernel"].shape[:-1]) ** -0.5
            assert 0.3 * bound < np.abs(leaf).max() <= bound
        else:
            chex.assert_trees_all_equal(leaf, jnp.full_like(leaf, kind == "scale"))


def params_of(params, path):
    return params_of(params[path[0]], path[1:]) if path else params


@pytest.mark.parametrize("name", OLDEST)
def test_evaluation_judges_each_image_alone(name):
    model, variables = models.create(name, CLASSES), from_state_dict(name, state_dict(name))
    together, alone = (model.apply(variables, x, train=False) for x in (images(16), images(16)[:1]))
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[:1], together), alone, rtol=1e-4, atol=1e-5)


@FAMILIES
def test_the_last_map_is_the_one_that_the_head_pools(name):
    variables = from_state_dict(name, state_dict(name))
    apply = jax.jit(models.create(name, CLASSES).apply, static_argnames="train", compiler_options=QUICK)
    outputs = apply(variables, images(32), train=False)
    last = outputs.features[-1]
    assert last.min() == 0 < last.max(), "after the ReLU"
    chex.assert_trees_all_close(last.mean((1, 2)), outputs.embedding, rtol=1e-5)
    chex.assert_trees_all_close(
        models.head(variables)(outputs.embedding), outputs.logits, rtol=1e-4, atol=1e-4
    )


@FAMILIES
def test_bfloat16_has_float32_variables_and_outputs(name):
    drops = {"dropout": jax.random.key(0)}
    variables, (outputs, updates) = signature(
        name, jnp.bfloat16, train=True, mutable=["batch_stats"], rngs=drops
    )
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, outputs, updates))} == {jnp.dtype("float32")}


def test_bfloat16_is_computed_in():
    variables = from_state_dict("wrn_16_1", state_dict("wrn_16_1"))
    exact, half = (
        models.create("wrn_16_1", CLASSES, dtype).apply(variables, images(16)).logits
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    error = np.abs(half - exact).max() / np.abs(exact).max()
    assert 1e-4 < error < 0.1  # eight bits are 0.004


def test_float64_is_kept():
    with double_precision():
        _, outputs = signature("resnet8", jnp.float64)
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {jnp.dtype("float64")}


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [("resnet8_x4", 10, "did you mean 'resnet8x4'"), ("lenet", 10, "'lenet'"), ("vgg8", 0, "not 0")],
)
def test_mistakes_are_told(name, classes, message):
    with pytest.raises(UserError, match=message) as caught:
        models.create(name, classes)
    assert "\n" not in str(caught.value)
