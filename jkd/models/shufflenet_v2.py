"""ShuffleNetV2: Ma et al. 2018, for small images as published with RepDistiller, and torchvision's."""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jkd.models.base import Outputs
from jkd.models.layers import (
    TORCH_LINEAR,
    channel_shuffle,
    conv_norm,
    max_pool_overlapping,
    outputs,
    torch_dense,
)

_Pair = tuple[str, str]  # the names of a convolution and its batch norm


class _Names(NamedTuple):
    stem: _Pair
    stages: tuple[str, str, str]
    shortcut: tuple[_Pair, _Pair]  # of a block that strides
    striding: tuple[_Pair, _Pair, _Pair]
    branch: tuple[_Pair, _Pair, _Pair]  # of the other blocks
    last: _Pair
    classifier: str


_SMALL = _Names(
    stem=("conv1", "bn1"),
    stages=("layer1", "layer2", "layer3"),
    shortcut=(("conv1", "bn1"), ("conv2", "bn2")),
    striding=(("conv3", "bn3"), ("conv4", "bn4"), ("conv5", "bn5")),
    branch=(("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
    last=("conv2", "bn2"),
    classifier="linear",
)
_BRANCH = (("branch2_0", "branch2_1"), ("branch2_3", "branch2_4"), ("branch2_5", "branch2_6"))
_IMAGENET = _Names(
    stem=("conv1_0", "conv1_1"),
    stages=("stage2", "stage3", "stage4"),
    shortcut=(("branch1_0", "branch1_1"), ("branch1_2", "branch1_3")),
    striding=_BRANCH,
    branch=_BRANCH,
    last=("conv5_0", "conv5_1"),
    classifier="fc",
)


class ShuffleBlock(nn.Module):
    """Two branches, side by side and shuffled: half of the channels as they are, or both where it strides."""

    channels: int
    stride: int
    names: _Names
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], train: bool) -> Array:
        """Returns the block's map."""
        layer = partial(conv_norm, train=train, dtype=self.dtype, kernel_init=TORCH_LINEAR)
        half = self.channels // 2
        if self.stride == 2:
            depthwise, last = self.names.shortcut
            left = layer(x, x.shape[-1], 3, depthwise, stride=2, groups=x.shape[-1])
            left = nn.relu(layer(left, half, 1, last))
            right, names = x, self.names.striding
        else:
            left, right = jnp.split(x, 2, -1)
            names = self.names.branch
        right = nn.relu(layer(right, half, 1, names[0]))
        right = layer(right, half, 3, names[1], stride=self.stride, groups=half)
        right = nn.relu(layer(right, half, 1, names[2]))
        return channel_shuffle(jnp.concatenate([left, right], -1), 2)


class ShuffleNetV2(nn.Module):
    """A stem of 24 channels, three stages that each halve the map, and a 1x1 convolution to 1024 channels."""

    channels: tuple[int, int, int]  # of the stages
    num_classes: int
    imagenet: bool = False  # torchvision's definition: its stem strides and pools
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"], train: bool = False) -> Outputs:
        """Returns logits, features of the stem, two stages and the last convolution, and embedding."""
        layer = partial(conv_norm, train=train, dtype=self.dtype, kernel_init=TORCH_LINEAR)
        if self.imagenet:
            names = _IMAGENET
            x = max_pool_overlapping(nn.relu(layer(images, 24, 3, names.stem, stride=2)))
        else:
            names = _SMALL
            x = nn.relu(layer(images, 24, 1, names.stem))
        features = [x]
        for stage, channels, blocks in zip(names.stages, self.channels, (4, 8, 4), strict=True):
            for block in range(blocks):
                stride = 1 if block else 2
                x = ShuffleBlock(channels, stride, names, self.dtype, name=f"{stage}_{block}")(x, train)
            features.append(x)
        features[-1] = nn.relu(layer(x, 1024, 1, names.last))
        return outputs(features, torch_dense(self.num_classes, 1024, names.classifier, self.dtype))
