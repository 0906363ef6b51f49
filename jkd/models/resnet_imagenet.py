"""ResNets of four stages: He et al. 2016, section 4.1, with torchvision's definitions.

RepDistiller's ResNet50 for small images has another stem and other names. The wide ones, and the one of ten
layers, are MMKD's; its `resnet_imagenet_semckd.py` defines them (`wide_resnet34_2` and `wide_resnet34_4` in
its `resnet_imagenet.py` take a width and ignore it).
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jkd.models.base import Outputs
from jkd.models.layers import conv_norm, max_pool_overlapping, outputs, torch_dense
from jkd.models.resnet import BasicBlock


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a widening 1x1 convolution beside a shortcut, added before the last ReLU."""

    channels: int  # of the middle; four times as many leave the block
    stride: int
    dtype: DTypeLike
    shortcut: str = "downsample"

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], train: bool) -> Array:
        """Returns the block's map, after its ReLU."""
        layer = partial(conv_norm, train=train, dtype=self.dtype)
        y = nn.relu(layer(x, self.channels, 1, ("conv1", "bn1")))
        y = nn.relu(layer(y, self.channels, 3, ("conv2", "bn2"), stride=self.stride))
        y = layer(y, 4 * self.channels, 1, ("conv3", "bn3"))
        if self.stride != 1 or x.shape[-1] != 4 * self.channels:
            names = (f"{self.shortcut}_0", f"{self.shortcut}_1")
            x = layer(x, 4 * self.channels, 1, names, stride=self.stride)
        return nn.relu(x + y)


class ResNetImageNet(nn.Module):
    """A stem and four stages; all but the first halve the map."""

    blocks: tuple[int, int, int, int]  # in the stages
    num_classes: int
    bottleneck: bool = False
    width: int = 1  # a factor of the stages' channels
    small: bool = False  # RepDistiller's ResNet50: the stem leaves the map as large as the images
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"], train: bool = False) -> Outputs:
        """Returns logits, features of the stem and the four stages, and embedding of the images."""
        layer = partial(conv_norm, names=("conv1", "bn1"), train=train, dtype=self.dtype)
        if self.small:
            x = nn.relu(layer(images, 64, 3))
        else:
            x = max_pool_overlapping(nn.relu(layer(images, 64, 7, stride=2)))
        make: Callable[..., nn.Module] = BasicBlock
        if self.bottleneck:
            make = partial(Bottleneck, shortcut="shortcut" if self.small else "downsample")
        features = [x]
        for stage, blocks in enumerate(self.blocks, start=1):
            channels = 32 * 2**stage * self.width
            for block in range(blocks):
                stride = 2 if stage > 1 and block == 0 else 1
                x = make(channels, stride, dtype=self.dtype, name=f"layer{stage}_{block}")(x, train)
            features.append(x)
        name = "linear" if self.small else "fc"
        return outputs(features, torch_dense(self.num_classes, x.shape[-1], name, self.dtype))
