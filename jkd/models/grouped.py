"""Grouped and depthwise convolutions, in forms that XLA's CPU compiler turns into fast programs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_PIECE = 64  # channels; fewer compile to more convolutions, more multiply more zeros


def grouped_conv(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "rows columns channels/groups features"],
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    *,
    feature_group_count: int,
    **rest: Any,
) -> Float[Array, "batch new_height new_width features"]:
    """Returns `lax.conv_general_dilated` of the same arguments, on the CPU by faster ways.

    XLA's CPU compiler makes slow programs of it, of its gradients above all. A depthwise convolution is a sum
    of shifted products there, one for each element of the kernel; others are convolutions of some groups
    together, with zeros between the groups. benchmarks/mobile_networks.py measures what that gains.

    Args:
        x: maps.
        kernel: the kernel; each of its features sees its group's channels alone.
        window_strides: rows and columns between neighbouring results.
        padding: zeros before and after the rows and the columns.
        feature_group_count: the groups of channels; as many as channels in a depthwise convolution.
        **rest: what else `nn.Conv` gives, dilations of one among it.
    """
    native = partial(lax.conv_general_dilated, window_strides=window_strides, padding=padding, **rest)
    if kernel.shape[2:] == (1, x.shape[-1]):
        otherwise = partial(_shifted_products, strides=window_strides, padding=padding)
    else:
        otherwise = partial(_in_pieces, conv=native, groups=feature_group_count)
    at_once = partial(native, feature_group_count=feature_group_count)
    return lax.platform_dependent(x, kernel, cpu=otherwise, default=at_once)


def _in_pieces(x: Array, kernel: Array, conv: Callable[[Array, Array], Array], groups: int) -> Array:
    inputs, features = kernel.shape[2], kernel.shape[3] // groups
    together = max(1, _PIECE // inputs)
    results = []
    for first in range(0, groups, together):
        last = min(first + together, groups)
        part = lax.slice_in_dim(x, first * inputs, last * inputs, axis=3)
        of_part = lax.slice_in_dim(kernel, first * features, last * features, axis=3)
        own = jnp.kron(jnp.eye(last - first, dtype=x.dtype), jnp.ones((inputs, features), x.dtype))
        results.append(conv(part, jnp.tile(of_part, (1, 1, last - first, 1)) * own))
    return jnp.concatenate(results, -1)


def _shifted_products(x: Array, kernel: Array, strides: Sequence[int], padding: Sequence[Any]) -> Array:
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = kernel.shape[:2]
    height, width = (
        (size - n) // stride + 1
        for size, n, stride in zip(x.shape[1:3], (rows, columns), strides, strict=True)
    )
    result = jnp.zeros((), x.dtype)
    for row in range(rows):
        of_row = lax.slice_in_dim(x, row, row + strides[0] * (height - 1) + 1, strides[0], 1)
        for column in range(columns):
            part = lax.slice_in_dim(of_row, column, column + strides[1] * (width - 1) + 1, strides[1], 2)
            result += part * kernel[row, column, 0]
    return result
