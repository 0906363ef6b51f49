"""Augmentation and standardisation of image batches, inside the compiled step.

Images stay uint8 until they are standardised, so that a data set takes a quarter of the memory it would take
as float32.
"""

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray, UInt8


def augment(
    key: PRNGKeyArray,
    images: UInt8[Array, "batch height width channels"],
    *,
    crop_padding: int,
    flip: bool,
) -> UInt8[Array, "batch height width channels"]:
    """Crops each image at random out of its zero-padded self and mirrors every other one, at random too.

    The CIFAR recipe (He et al. 2016, "Deep residual learning for image recognition", section 4.2) is
    `crop_padding=4, flip=True`. What happens to an image depends on the key and on its place in the batch
    alone, not on how the batch is spread over devices.

    Args:
        key: One key for the whole batch.
        images: The images, 0 to 255.
        crop_padding: Width of the border of zeros, in pixels; shifts are uniform over [-crop_padding,
            crop_padding], each axis by itself. 0 switches cropping off.
        flip: Whether images are mirrored.

    Returns:
        Images of the same shape.
    """
    batch, height, width, _ = images.shape
    shift_key, flip_key = jax.random.split(key)
    rows = jnp.broadcast_to(jnp.arange(height), (batch, height))
    columns = jnp.broadcast_to(jnp.arange(width), (batch, width))
    if flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(batch, 1))
        columns = jnp.where(mirrored, width - 1 - columns, columns)
    if crop_padding:
        border = (crop_padding, crop_padding)
        images = jnp.pad(images, ((0, 0), border, border, (0, 0)))
        corners = jax.random.randint(shift_key, (batch, 2), 0, 2 * crop_padding + 1)
        rows, columns = rows + corners[:, :1], columns + corners[:, 1:]
    # Whole rows, then columns: unlike slices under vmap, this splits over devices on any kind of mesh.
    images = jnp.take_along_axis(images, rows[:, :, None, None], axis=1)
    return jnp.take_along_axis(images, columns[:, None, :, None], axis=2)


def resized_crop(
    key: PRNGKeyArray, images: UInt8[Array, "batch height width channels"], smallest: float
) -> UInt8[Array, "batch height width channels"]:
    """Scales a random part of each image to the image's size, bilinearly.

    The crop of Szegedy et al. 2015 ("Going deeper with convolutions", section 6): its share of the area is
    uniform over [smallest, 1], the logarithm of its width through its height uniform between those of 3/4
    and 4/3, its place uniform. Ours: a side that would be longer than the image's is cut to it, where
    torchvision draws again.

    Args:
        key: One key for the whole batch.
        images: The images, 0 to 255.
        smallest: The least share of an image's area, above 0 and at most 1.

    Returns:
        Images of the same shape.
    """
    batch, height, width, _ = images.shape
    area_key, shape_key, place_key = jax.random.split(key, 3)
    area = jax.random.uniform(area_key, (batch,), minval=smallest)
    shape = jnp.exp(jax.random.uniform(shape_key, (batch,), minval=-1, maxval=1) * jnp.log(4 / 3))
    # Relative to the image's sides: rows, then columns. For a square image `shape` is the part's own.
    sides = jnp.stack([jnp.sqrt(area / shape), jnp.sqrt(area * shape)], axis=1).clip(max=1.0)
    corners = jax.random.uniform(place_key, (batch, 2)) * (1 - sides)
    rows = _scaling(corners[:, 0], sides[:, 0], height)
    columns = _scaling(corners[:, 1], sides[:, 1], width)
    # Two products with matrices, not slices of as many sizes as images: one program splits over devices.
    exact = jax.lax.Precision.HIGHEST
    found = jnp.einsum("bij,bjwc->biwc", rows, images.astype(jnp.float32), precision=exact)
    found = jnp.einsum("bkw,biwc->bikc", columns, found, precision=exact)
    return found.round().clip(0, 255).astype(jnp.uint8)


def _scaling(
    corner: Float[Array, " batch"], side: Float[Array, " batch"], size: int
) -> Float[Array, "batch size size"]:
    """The weights with which the pixels of an axis, the last index, make those of a part scaled to it."""
    centres = (jnp.arange(size) + 0.5) * side[:, None] + corner[:, None] * size
    distance = jnp.abs(centres[..., None] - (jnp.arange(size) + 0.5))
    # Beyond the part there are the image's own pixels; beyond the image there are none.
    weights = jnp.maximum(1 - distance, 0)
    return weights / weights.sum(-1, keepdims=True)


def standardise(
    images: UInt8[Array, "*batch height width channels"],
    mean: Float[Array, " channels"],
    std: Float[Array, " channels"],
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "*batch height width channels"]:
    """Scales images to [0, 1], subtracts the mean and divides by the standard deviation of each channel.

    Args:
        images: The images, 0 to 255.
        mean: Mean of each channel, in units of [0, 1].
        std: Standard deviation of each channel, in the same units.
        dtype: Type of the result; the arithmetic is in float32.

    Returns:
        The standardised images.
    """
    mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
    return ((images.astype(jnp.float32) / 255 - mean) / std).astype(dtype)
