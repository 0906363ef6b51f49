"""ResNets for small images: He et al. 2016, section 4.2, as published with RepDistiller.

The "x4" ones have four times the channels in their stages and twice in their stem. resnet20x4 is MMKD's.
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jkd.models.base import Outputs
from jkd.models.layers import BatchNorm, conv, outputs, torch_dense


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, added before the last ReLU."""

    channels: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], train: bool) -> Array:
        """Returns the block's map, after its ReLU."""
        norm = partial(BatchNorm, use_running_average=not train, dtype=self.dtype)
        y = conv(self.channels, 3, "conv1", self.dtype, self.stride)(x)
        y = nn.relu(norm(name="bn1")(y))
        y = conv(self.channels, 3, "conv2", self.dtype)(y)
        y = norm(name="bn2")(y)
        if self.stride != 1 or x.shape[-1] != self.channels:
            x = conv(self.channels, 1, "downsample_0", self.dtype, self.stride)(x)
            x = norm(name="downsample_1")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A stem and three stages of (depth - 2) / 6 blocks; the second and third halve the map."""

    depth: int
    widths: tuple[int, int, int, int]  # of the stem and the stages
    num_classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"], train: bool = False) -> Outputs:
        """Returns logits, features of the stem and the three stages, and embedding of the images."""
        x = conv(self.widths[0], 3, "conv1", self.dtype)(images)
        x = nn.relu(BatchNorm(use_running_average=not train, dtype=self.dtype, name="bn1")(x))
        features = [x]
        for stage, channels in enumerate(self.widths[1:], start=1):
            for block in range((self.depth - 2) // 6):
                stride = 2 if stage > 1 and block == 0 else 1
                x = BasicBlock(channels, stride, self.dtype, name=f"layer{stage}_{block}")(x, train)
            features.append(x)
        classifier = torch_dense(self.num_classes, self.widths[-1], "fc", self.dtype)
        return outputs(features, classifier)
