"""The layers that the families share, with the arithmetic and initial values of their PyTorch originals."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jkd.models.base import Outputs
from jkd.models.grouped import grouped_conv

# He et al. 2015 (fan-out form): a normal distribution of variance 2 / (kernel area * output channels).
HE_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# What a PyTorch linear layer or convolution starts with: uniform in +-1/sqrt(inputs of one output).
TORCH_LINEAR = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def conv(
    features: int,
    kernel: int,
    name: str,
    dtype: DTypeLike,
    stride: int = 1,
    bias: bool = False,
    groups: int = 1,
    kernel_init: nn.initializers.Initializer = HE_FAN_OUT,
) -> nn.Conv:
    """Returns a square convolution padded by `kernel // 2` all round ("SAME" is not, where it strides)."""
    return nn.Conv(
        features,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2,
        feature_group_count=groups,
        use_bias=bias,
        kernel_init=kernel_init,
        conv_general_dilated=grouped_conv if groups > 1 else None,
        dtype=dtype,
        name=name,
    )


def conv_norm(
    x: Float[Array, "batch height width channels"],
    features: int,
    kernel: int,
    names: tuple[str, str],
    *,
    train: bool,
    dtype: DTypeLike,
    stride: int = 1,
    groups: int = 1,
    kernel_init: nn.initializers.Initializer = HE_FAN_OUT,
) -> Array:
    """Returns the map after a convolution and its batch norm, modules of these names of whoever calls it."""
    x = conv(features, kernel, names[0], dtype, stride, groups=groups, kernel_init=kernel_init)(x)
    return BatchNorm(use_running_average=not train, dtype=dtype, name=names[1])(x)


class BatchNorm(nn.BatchNorm):
    """Flax's batch norm with PyTorch's constants and running variance.

    PyTorch normalises a batch by its biased variance but averages the unbiased one, n/(n-1) times as large
    where a channel has n values in the batch. Flax averages the biased one.
    """

    momentum: float = 0.9  # of the running average; what PyTorch calls momentum is the complement, 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self, x: Array, use_running_average: bool | None = None, *, mask: Array | None = None
    ) -> Any:
        """Normalises each channel of `x` by the batch's statistics or the running ones."""
        frozen = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        if frozen or self.is_initializing():
            return super().__call__(x, use_running_average, mask=mask)
        old: Array = self.get_variable("batch_stats", "var")
        y = super().__call__(x, use_running_average, mask=mask)
        new: Array = self.get_variable("batch_stats", "var")
        values = x.size // x.shape[-1]
        # `new - momentum * old` is the batch's part of the new average.
        self.put_variable("batch_stats", "var", new + (new - self.momentum * old) / max(values - 1, 1))
        return y


def max_pool(x: Float[Array, "batch height width channels"]) -> Array:
    """Returns the maxima over 2x2 squares; an odd last row or column is dropped.

    Elementwise maxima, because XLA's gradient of a maximum over windows (Flax's pooling) is slow on the CPU:
    a training step of vgg8 takes 0.8 of the time, its forward pass 0.9.
    """
    height, width = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    for axis, end in ((1, height), (2, width)):
        # Not x[:, 0:end:2], which becomes a gather where the batch is of a size to be known later.
        x = jnp.maximum(*(jax.lax.slice_in_dim(x, start, max(start, end), 2, axis) for start in (0, 1)))
    return x


def max_pool_overlapping(x: Float[Array, "batch height width channels"]) -> Array:
    """Returns the maxima over 3x3 squares two apart, the border padded by one: those of ImageNet's stems.

    The border is of zeros, which a map that comes out of a ReLU, as theirs does, cannot tell from PyTorch's
    minus infinity; quantisation can. Rows first, then columns, and elementwise for the same reason as in
    `max_pool`.
    """
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for axis in (1, 2):
        end = x.shape[axis] - 2
        first, second, third = (jax.lax.slice_in_dim(x, i, end + i, 2, axis) for i in range(3))
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def channel_shuffle(x: Float[Array, "batch height width channels"], groups: int) -> Array:
    """Returns the channels with the groups interleaved: the first of each group, the second of each, ..."""
    *rest, channels = x.shape
    return x.reshape(*rest, groups, channels // groups).swapaxes(-1, -2).reshape(x.shape)


def outputs(
    features: Sequence[Float[Array, "batch height width channels"]],
    classifier: Callable[[Array], Array],
) -> Outputs:
    """Returns a network's outputs from its maps, the last of which is pooled and classified."""
    embedding = jnp.mean(_float32(features[-1]), axis=(1, 2))
    logits = _float32(classifier(embedding))
    return Outputs(logits, tuple(map(_float32, features)), embedding)


def _float32(x: Array) -> Array:
    # Losses take norms, Gram matrices and softmaxes of these: too much for bfloat16. float64 is kept.
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def uniform_bias(inputs: int) -> Any:
    """Returns the initializer of the bias of a PyTorch linear layer of so many inputs."""

    def init(key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        bound = inputs**-0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def torch_dense(classes: int, inputs: int, name: str, dtype: DTypeLike) -> nn.Dense:
    """Returns a linear layer that starts as PyTorch's do."""
    return nn.Dense(classes, kernel_init=TORCH_LINEAR, bias_init=uniform_bias(inputs), dtype=dtype, name=name)
