"""ShuffleNet for small images: Zhang et al. 2018, as published with RepDistiller."""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jkd.models.base import Outputs
from jkd.models.layers import TORCH_LINEAR, channel_shuffle, conv_norm, outputs, torch_dense

_GROUPS = 3
_STEM = 24


class Bottleneck(nn.Module):
    """A grouped 1x1, a depthwise 3x3 and a grouped 1x1 convolution beside a shortcut.

    Where the block strides, the shortcut is an average and stands beside the sum instead of in it.
    """

    channels: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], train: bool) -> Array:
        """Returns the block's map, after its ReLU."""
        layer = partial(conv_norm, train=train, dtype=self.dtype, kernel_init=TORCH_LINEAR)
        # A block that strides has its input's channels beside its own.
        own = self.channels - x.shape[-1] if self.stride == 2 else self.channels
        middle = own // 4
        groups = 1 if x.shape[-1] == _STEM else _GROUPS
        y = nn.relu(layer(x, middle, 1, ("conv1", "bn1"), groups=groups))
        y = channel_shuffle(y, groups)
        y = nn.relu(layer(y, middle, 3, ("conv2", "bn2"), stride=self.stride, groups=middle))
        y = layer(y, own, 1, ("conv3", "bn3"), groups=_GROUPS)
        if self.stride == 2:
            # Padded apart and named: of another call jax2onnx (0.17) makes another pooling, or none.
            padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
            shortcut = nn.avg_pool(padded, window_shape=(3, 3), strides=(2, 2))
            return nn.relu(jnp.concatenate([y, shortcut], -1))
        return nn.relu(x + y)


class ShuffleNetV1(nn.Module):
    """A stem of 1x1 and three stages, each of which halves the map."""

    num_classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"], train: bool = False) -> Outputs:
        """Returns logits, features of the stem and the three stages, and embedding of the images."""
        layer = partial(conv_norm, train=train, dtype=self.dtype, kernel_init=TORCH_LINEAR)
        x = nn.relu(layer(images, _STEM, 1, ("conv1", "bn1")))
        features = [x]
        for stage, (channels, blocks) in enumerate(((240, 4), (480, 8), (960, 4)), start=1):
            for block in range(blocks):
                name = f"layer{stage}_{block}"
                x = Bottleneck(channels, 1 if block else 2, self.dtype, name=name)(x, train)
            features.append(x)
        return outputs(features, torch_dense(self.num_classes, x.shape[-1], "linear", self.dtype))
