"""Grouped and depthwise convolutions, in forms that XLA's CPU compiler turns into fast programs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


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
    of shifted products there, one for each element of the kernel; of a 1x1 convolution each group is one of
    its own. Both are the same multiply-adds. benchmarks/mobile_networks.py measures training steps.

    Args:
        x: maps.
        kernel: the kernel; each of its features sees its group's channels alone.
        window_strides: rows and columns between neighbouring results.
        padding: zeros before and after the rows and the columns.
        feature_group_count: the groups of channels; as many as channels in a depthwise convolution.
        **rest: what else `nn.Conv` gives, dilations of one among it.
    """
    native = partial(lax.conv_general_dilated, window_strides=window_strides, padding=padding, **rest)
    at_once = partial(native, feature_group_count=feature_group_count)
    if kernel.shape[2:] == (1, x.shape[-1]):
        otherwise = partial(_shifted_products, strides=window_strides, padding=padding)
    elif kernel.shape[:2] == (1, 1):
        otherwise = partial(_by_group, conv=native, groups=feature_group_count)
    else:
        return at_once(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=otherwise, default=at_once)


def _by_group(x: Array, kernel: Array, conv: Callable[[Array, Array], Array], groups: int) -> Array:
    parts = zip(jnp.split(x, groups, -1), jnp.split(kernel, groups, -1), strict=True)
    return jnp.concatenate([conv(part, of_part) for part, of_part in parts], -1)


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
