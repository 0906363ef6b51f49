import os
import subprocess
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jkd.data.augment import augment, resized_crop, standardise

jitted = jax.jit(augment, static_argnames=("crop_padding", "flip"))
IMAGES = np.random.default_rng(0).integers(
    1, 256, (64, 8, 10, 3), dtype=np.uint8
)  # no zeros: those are padding


def _crops(image, padding, flip):
    """All that a random crop and flip may make of an image."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    height, width, _ = image.shape
    for row in range(2 * padding + 1):
        for column in range(2 * padding + 1):
            crop = padded[row : row + height, column : column + width]
            yield (row, column, False), crop
            if flip:
                yield (row, column, True), crop[:, ::-1]


@pytest.mark.parametrize(("padding", "flip"), [(2, True), (2, False), (0, True), (9, True)])
def test_an_image_becomes_one_of_its_crops(padding, flip):
    augmented = jitted(jax.random.key(0), IMAGES, crop_padding=padding, flip=flip)
    chex.assert_shape(augmented, IMAGES.shape)
    chex.assert_type(augmented, jnp.uint8)
    seen = set()
    for before, after in zip(IMAGES, np.asarray(augmented), strict=True):
        found = [how for how, crop in _crops(before, padding, flip) if np.array_equal(crop, after)]
        assert found
        seen.add(found[0])
    if padding == 2:
        # All five shifts along each axis, and both directions, come up among 64 images.
        assert {row for row, _, _ in seen} == {column for _, column, _ in seen} == set(range(5))
    assert {mirrored for _, _, mirrored in seen} == ({True, False} if flip else {False})


def test_both_switched_off_leave_images_as_they_are():
    chex.assert_trees_all_equal(jitted(jax.random.key(0), IMAGES, crop_padding=0, flip=False), IMAGES)


def test_an_image_in_its_place_does_not_depend_on_the_rest_of_the_batch():
    key = jax.random.key(3)
    whole = jitted(key, IMAGES, crop_padding=2, flip=True)
    chex.assert_trees_all_equal(jitted(key, IMAGES[:16], crop_padding=2, flip=True), whole[:16])


def test_keys_differ():
    first, second = (jitted(jax.random.key(seed), IMAGES, crop_padding=2, flip=True) for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_augment_works_under_vmap():
    keys = jax.random.split(jax.random.key(0), 2)
    pairs = jax.vmap(lambda key: jitted(key, IMAGES, crop_padding=2, flip=True))(keys)
    chex.assert_trees_all_equal(pairs[1], jitted(keys[1], IMAGES, crop_padding=2, flip=True))


ON_EIGHT_DEVICES = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jkd.data.augment import augment

images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype=np.uint8)
crop = jax.jit(lambda key, images: augment(key, images, crop_padding=2, flip=True))
on_one = crop(jax.random.key(0), images)
for kind in jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit:
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(kind,))
    spread = jax.device_put(images, NamedSharding(mesh, PartitionSpec("batch")))
    on_eight = crop(jax.random.key(0), spread)
    assert len(on_eight.sharding.device_set) == 8
    assert np.array_equal(on_eight, on_one)
    program = crop.lower(jax.random.key(0), spread).compile().as_text()
    assert "all-gather" not in program and "all-to-all" not in program
"""


def test_eight_devices_make_the_images_of_one_without_exchanging_any():
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    subprocess.run([sys.executable, "-c", ON_EIGHT_DEVICES], env=environment, check=True)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_standardised_images_have_mean_zero_and_deviation_one(dtype):
    scaled = IMAGES / 255
    mean, std = scaled.mean((0, 1, 2)), scaled.std((0, 1, 2))
    standardised = standardise(IMAGES, mean, std, dtype)
    chex.assert_type(standardised, dtype)
    tolerance = 1e-5 if dtype == jnp.float32 else 2e-2
    np.testing.assert_allclose(standardised.astype(jnp.float32), (scaled - mean) / std, atol=tolerance)


def test_a_resized_crop_of_one_colour_is_that_colour():
    images = jnp.full((8, 6, 6, 3), 77, jnp.uint8)
    np.testing.assert_array_equal(resized_crop(jax.random.key(1), images, 0.08), images)


def test_a_resized_crop_is_a_part_of_the_image_scaled_up():
    """Of a ramp, each row is an arithmetic progression that spans the share of the axis that was kept."""
    size = 32
    ramp = jnp.broadcast_to((jnp.arange(size) * 7)[None, :, None], (size, size, 3)).astype(jnp.uint8)
    found = np.asarray(resized_crop(jax.random.key(2), jnp.broadcast_to(ramp, (500, size, size, 3)), 0.25))
    assert (found == found[:, :1]).all(), "the axis without a ramp stays without"
    widths = (found[:, 0, size // 2 + 8, 0].astype(float) - found[:, 0, size // 2 - 8, 0]) / (16 * 7)
    assert 0.4 < widths.min() < 0.55 and widths.max() <= 1.01  # √(0.25 · 3/4) = 0.43
    assert abs(np.mean(widths < 0.77) - 0.5) < 0.15
