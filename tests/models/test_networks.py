"""What every network promises, whatever its weights."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pytorch_reference import CLASSES, images, state_dict

from jkd import models
from jkd.errors import UserError
from jkd.interop.torch import from_state_dict

FAMILIES = pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8"])


def signature(name, dtype=jnp.float32, **kwargs):
    """The shapes and types of a network's variables, and of its outputs with their updates."""
    model = models.create(name, CLASSES, dtype)
    key, image = jax.random.key(0), jnp.zeros((2, *kwargs.pop("size", (16, 16)), 3), dtype)
    variables = jax.eval_shape(model.init, key, image)
    return variables, jax.eval_shape(lambda v: model.apply(v, image, **kwargs), variables)


@FAMILIES
@pytest.mark.parametrize("size", [(8, 8), (16, 16), (33, 40), (64, 64)])
def test_any_size_of_image(name, size):
    _, outputs = signature(name, size=size)
    chex.assert_shape(outputs.logits, (2, CLASSES))
    chex.assert_shape(outputs.features[0], (2, *size, None))
    chex.assert_shape(outputs.embedding, (2, outputs.features[-1].shape[-1]))


def test_odd_sizes_are_halved_as_in_pytorch():
    _, pooled = signature("vgg8", size=(33, 7))
    _, strided = signature("resnet8", size=(33, 7))
    chex.assert_shape(pooled.features[1], (2, 16, 3, None))
    chex.assert_shape(strided.features[2], (2, 17, 4, None))


@FAMILIES
def test_initial_values_are_the_originals(name):
    model = models.create(name, CLASSES)
    # The default generator takes seconds to compile for so many shapes.
    params = jax.jit(model.init)(jax.random.key(0, impl="rbg"), images(16))["params"]
    for path, leaf in jax.tree.leaves_with_path(params):
        *_, module, kind = (key.key for key in path)
        if leaf.ndim == 4:
            assert kind == "kernel"
            deviation = (2 / (leaf.shape[0] * leaf.shape[1] * leaf.shape[3])) ** 0.5
            # The deviation of n samples is off by a factor of about 1 ± 1/sqrt(2n); five times that.
            assert np.std(leaf) == pytest.approx(deviation, rel=5 / (2 * leaf.size) ** 0.5)
        elif module == "classifier" and kind == "kernel":
            assert np.std(leaf) == pytest.approx(0.01, rel=0.1)
        elif (module == "fc" and kind == "kernel") or (module == "fc" and name == "resnet8"):
            bound = params["fc"]["kernel"].shape[0] ** -0.5
            assert 0.6 * bound < np.abs(leaf).max() <= bound
        else:
            chex.assert_trees_all_equal(leaf, jnp.full_like(leaf, kind == "scale"))


@FAMILIES
def test_evaluation_judges_each_image_alone(name):
    model, variables = models.create(name, CLASSES), from_state_dict(name, state_dict(name))
    together, alone = (model.apply(variables, x, train=False) for x in (images(16), images(16)[:1]))
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[:1], together), alone, rtol=1e-4, atol=1e-5)


@FAMILIES
def test_bfloat16_has_float32_variables_and_outputs(name):
    variables, (outputs, updates) = signature(name, jnp.bfloat16, train=True, mutable=["batch_stats"])
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
    with jax.enable_x64(True):
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
