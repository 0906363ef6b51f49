"""RegNets for small images: Radosavovic et al. 2020, as published with MTKD-RL."""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jkd.models.base import Outputs
from jkd.models.layers import TORCH_LINEAR, conv_norm, outputs, torch_dense, uniform_bias


class Block(nn.Module):
    """A 1x1, a grouped 3x3 and a 1x1 convolution beside a shortcut; RegNetY weighs the channels between."""

    channels: int
    stride: int
    group_width: int
    weighs: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], train: bool) -> Array:
        """Returns the block's map, after its ReLU."""
        layer = partial(conv_norm, train=train, dtype=self.dtype, kernel_init=TORCH_LINEAR)
        groups = self.channels // self.group_width
        y = nn.relu(layer(x, self.channels, 1, ("conv1", "bn1")))
        y = nn.relu(layer(y, self.channels, 3, ("conv2", "bn2"), stride=self.stride, groups=groups))
        if self.weighs:
            y = y * self._weights(y, x.shape[-1] // 4)
        y = layer(y, self.channels, 1, ("conv3", "bn3"))
        if self.stride != 1 or x.shape[-1] != self.channels:
            x = layer(x, self.channels, 1, ("shortcut_0", "shortcut_1"), stride=self.stride)
        return nn.relu(x + y)

    def _weights(self, x: Array, hidden: int) -> Array:
        """Returns a weight in [0, 1] of each channel: squeeze and excitation, Hu et al. 2018."""
        means = jnp.mean(x, axis=(1, 2), keepdims=True)
        squeezed = nn.relu(self._pointwise(hidden, "se_se1", means))
        return nn.sigmoid(self._pointwise(self.channels, "se_se2", squeezed))

    def _pointwise(self, features: int, name: str, x: Array) -> Array:
        return nn.Conv(
            features,
            (1, 1),
            kernel_init=TORCH_LINEAR,
            bias_init=uniform_bias(x.shape[-1]),
            dtype=self.dtype,
            name=name,
        )(x)


class RegNet(nn.Module):
    """A stem of 64 channels and four stages; the third and fourth halve the map."""

    blocks: tuple[int, int, int, int]  # in the stages
    widths: tuple[int, int, int, int]
    group_width: int
    num_classes: int
    weighs: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"], train: bool = False) -> Outputs:
        """Returns logits, features of the stem and the last three stages, and embedding of the images."""
        layer = partial(conv_norm, train=train, dtype=self.dtype, kernel_init=TORCH_LINEAR)
        x = nn.relu(layer(images, 64, 3, ("conv1", "bn1")))
        features = [x]
        for stage, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True), start=1):
            for block in range(blocks):
                stride = 2 if stage > 2 and block == 0 else 1
                name = f"layer{stage}_{block}"
                x = Block(width, stride, self.group_width, self.weighs, self.dtype, name=name)(x, train)
            if stage > 1:  # MTKD-RL's code hands out no more
                features.append(x)
        return outputs(features, torch_dense(self.num_classes, x.shape[-1], "linear", self.dtype))
