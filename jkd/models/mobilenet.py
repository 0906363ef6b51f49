"""MobileNetV2: Sandler et al. 2018, for small images as published with RepDistiller, and torchvision's."""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jkd.models.base import Outputs
from jkd.models.layers import conv_norm, outputs

# Of each stage: how much a block expands its channels, channels, blocks, stride for ImageNet (small images').
_STAGES = (
    (1, 16, 1, 1, 1),
    (6, 24, 2, 2, 1),
    (6, 32, 3, 2, 2),
    (6, 64, 4, 2, 2),
    (6, 96, 3, 1, 1),
    (6, 160, 3, 2, 2),
    (6, 320, 1, 1, 1),
)
_HANDED_OUT = (1, 2, 4)  # those stages' maps, as in CA-MKD's and MMKD's code
_LAST = 1280


class InvertedResidual(nn.Module):
    """A block that expands its channels, convolves each alone and projects them, beside a shortcut."""

    channels: int
    stride: int
    expand: int
    imagenet: bool
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], train: bool) -> Array:
        """Returns the block's map, no activation after it."""
        layer = partial(conv_norm, train=train, dtype=self.dtype)
        activation, first, depthwise, last = nn.relu, ("0", "1"), ("3", "4"), ("6", "7")
        if self.imagenet:
            activation, first, depthwise, last = nn.relu6, ("0_0", "0_1"), ("1_0", "1_1"), ("2", "3")
            if self.expand == 1:  # torchvision's leaves the expansion out
                depthwise, last = first, ("1", "2")
        y, hidden = x, x.shape[-1] * self.expand
        if first != depthwise:
            y = activation(layer(y, hidden, 1, _named("conv", first)))
        y = activation(layer(y, hidden, 3, _named("conv", depthwise), stride=self.stride, groups=hidden))
        y = layer(y, self.channels, 1, _named("conv", last))
        return x + y if self.stride == 1 and x.shape[-1] == self.channels else y


class MobileNetV2(nn.Module):
    """A stem that strides, seven stages of blocks and a 1x1 convolution to 1280 channels."""

    width: float  # a factor of the channels, at most 1
    num_classes: int
    imagenet: bool = False  # torchvision's definition: it strides once more and has ReLU6 and dropout
    dropout: float = 0.2  # of torchvision's head
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"], train: bool = False) -> Outputs:
        """Returns logits, features of the stem, three stages and the last convolution, and embedding."""
        layer = partial(conv_norm, train=train, dtype=self.dtype)
        activation = nn.relu6 if self.imagenet else nn.relu
        stem, last, head = ("conv1", "conv2", "classifier_0")
        if self.imagenet:
            stem, last, head = ("features_0", "features_18", "classifier_1")
        x = activation(layer(images, int(32 * self.width), 3, _named(stem, ("0", "1")), stride=2))
        features, names = [x], iter(range(1, 18))
        for stage, (expand, channels, blocks, stride, small_stride) in enumerate(_STAGES):
            for block in range(blocks):
                x = InvertedResidual(
                    int(channels * self.width),
                    1 if block else stride if self.imagenet else small_stride,
                    expand,
                    self.imagenet,
                    self.dtype,
                    name=f"features_{next(names)}" if self.imagenet else f"blocks_{stage}_{block}",
                )(x, train)
            if stage in _HANDED_OUT:
                features.append(x)
        features.append(activation(layer(x, _LAST, 1, _named(last, ("0", "1")))))
        drop = nn.Dropout(self.dropout if self.imagenet else 0.0, deterministic=not train)
        classifier = nn.Dense(
            self.num_classes, kernel_init=nn.initializers.normal(0.01), dtype=self.dtype, name=head
        )
        return outputs(features, lambda embedding: classifier(drop(embedding)))


def _named(parent: str, children: tuple[str, str]) -> tuple[str, str]:
    return f"{parent}_{children[0]}", f"{parent}_{children[1]}"
