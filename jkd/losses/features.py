"""Losses between feature maps (NHWC), per example.

Of two maps of different size the larger is average-pooled to the smaller.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float


def match_size(
    a: Float[Array, "batch height_a width_a channels_a"], b: Float[Array, "batch height_b width_b channels_b"]
) -> tuple[Float[Array, "batch height width channels_a"], Float[Array, "batch height width channels_b"]]:
    """Average-pools the larger of two maps to the smaller's height and width; the channels may differ.

    Cell i of n holds the mean of the positions from ⌊i·N/n⌋ to ⌈(i+1)·N/n⌉ − 1 of N, as in PyTorch's
    `adaptive_avg_pool2d`; where the sizes divide, the cells do not overlap and the map's mean is kept. Where
    one map is higher and the other wider, both are pooled.
    """
    height, width = min(a.shape[1], b.shape[1]), min(a.shape[2], b.shape[2])
    return _average_pool(a, height, width), _average_pool(b, height, width)


def mse(
    a: Float[Array, "batch height_a width_a channels"], b: Float[Array, "batch height_b width_b channels"]
) -> Float[Array, " batch"]:
    """Mean squared error over positions and channels, the hint of FitNets.

    Source: Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, equation 3; the mean in place of
    the halved sum, as in the published code of CA-MKD and MMKD.

    Raises:
      AssertionError: the channels differ.
    """
    a, b = match_size(a, b)
    chex.assert_equal_shape([a, b])
    return optax.losses.squared_error(a, b).mean(axis=(1, 2, 3))


def orthogonal_alignment(
    student_map: Float[Array, "batch height_s width_s channels"],
    teacher_map: Float[Array, "batch height_t width_t channels"],
) -> Float[Array, " batch"]:
    """Squared distance of channel-normalised features, averaged over positions; in [0, 4].

    It does not depend on the scale of either map.

    Args:
      student_map: F_s.
      teacher_map: F_k; the narrower of the two has been carried into the wider's channels by an orthonormal
        projection.

    Returns:
      The mean over positions of ‖F_s/‖F_s‖ − F_k/‖F_k‖‖², norms over channels. Where a map is zero it has no
      direction: the zero vector stands for it, and it gets no gradient there.

    Source: ours. The abstract of BOMD (Gong and Wen, Electronics 13(16):3345, 2024) names an alignment loss
    without its formula; directions are compared because an orthonormal projection does not bring the
    teacher's features to the scale of the student's.

    Raises:
      AssertionError: the channels differ.
    """
    student_map, teacher_map = match_size(student_map, teacher_map)
    chex.assert_equal_shape([student_map, teacher_map])
    difference = unit_vectors(student_map) - unit_vectors(teacher_map)
    return jnp.sum(difference**2, axis=-1).mean(axis=(1, 2))


def attention(
    a: Float[Array, "batch height_a width_a channels_a"], b: Float[Array, "batch height_b width_b channels_b"]
) -> Float[Array, " batch"]:
    """Attention transfer: mean squared difference of the two maps of where the network looks.

    Such a map holds the mean square of the channels at each position, divided by its norm over positions. The
    numbers of channels may differ.

    Source: Zagoruyko and Komodakis, "Paying more attention to attention", ICLR 2017, equation 2 with
    p = 2; squared and divided by the number of positions as in RepDistiller.
    """
    a, b = match_size(a, b)
    return jnp.mean((_attention_map(a) - _attention_map(b)) ** 2, axis=-1)


def unit_vectors(x: Float[Array, "... channels"]) -> Float[Array, "... channels"]:
    """Divides each vector along the last axis by its norm; below 1e-12 result and gradient are zero."""
    squared_norm = jnp.sum(x**2, axis=-1, keepdims=True)
    has_direction = squared_norm > 1e-24
    return jnp.where(has_direction, x / jnp.sqrt(jnp.where(has_direction, squared_norm, 1.0)), 0.0)


def _attention_map(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch positions"]:
    return unit_vectors(jnp.mean(x**2, axis=-1).reshape(len(x), -1))


def _average_pool(
    x: Float[Array, "batch height_in width_in channels"], height: int, width: int
) -> Float[Array, "batch height width channels"]:
    batch, height_in, width_in, channels = x.shape
    if (height_in, width_in) == (height, width):
        return x
    if height_in % height == 0 and width_in % width == 0:
        # On the CPU six times as fast as matrix products, its gradient 25 times as fast as reduce_window's.
        cells = x.reshape(batch, height, height_in // height, width, width_in // width, channels)
        return cells.mean(axis=(2, 4))
    rows, columns = _pooling_matrix(height_in, height), _pooling_matrix(width_in, width)
    return jnp.einsum(
        "ih,bhwc,jw->bijc",
        rows.astype(x.dtype),
        x,
        columns.astype(x.dtype),
        precision=jax.lax.Precision.HIGHEST,
    )


def _pooling_matrix(size_in: int, size: int) -> np.ndarray:
    matrix = np.zeros((size, size_in))
    for i in range(size):
        start, stop = i * size_in // size, -(-(i + 1) * size_in // size)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix
