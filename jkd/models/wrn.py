"""Wide residual networks: Zagoruyko and Komodakis 2016, as published with RepDistiller."""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jkd.models.base import Outputs
from jkd.models.layers import TORCH_LINEAR, BatchNorm, conv, outputs


class PreActivationBlock(nn.Module):
    """Batch norm, ReLU and 3x3 convolution, twice, beside a shortcut."""

    channels: int
    stride: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"], train: bool) -> Array:
        """Returns the block's sum, no ReLU after it."""
        norm = partial(BatchNorm, use_running_average=not train, dtype=self.dtype)
        y = nn.relu(norm(name="bn1")(x))
        if x.shape[-1] != self.channels:  # then the shortcut, too, sees the normalised map
            x = conv(self.channels, 1, "convShortcut", self.dtype, self.stride)(y)
        y = conv(self.channels, 3, "conv1", self.dtype, self.stride)(y)
        y = nn.relu(norm(name="bn2")(y))
        return x + conv(self.channels, 3, "conv2", self.dtype)(y)


class WideResNet(nn.Module):
    """A stem and three stages of (depth - 4) / 6 blocks; the second and third halve the map."""

    depth: int
    widen_factor: int
    num_classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"], train: bool = False) -> Outputs:
        """Returns logits, features of the stem and the three stages, and embedding of the images."""
        x = conv(16, 3, "conv1", self.dtype)(images)
        features = [x]
        for stage, width in enumerate((16, 32, 64), start=1):
            for block in range((self.depth - 4) // 6):
                stride = 2 if stage > 1 and block == 0 else 1
                name = f"block{stage}_layer_{block}"
                x = PreActivationBlock(width * self.widen_factor, stride, self.dtype, name=name)(x, train)
            features.append(x)
        final = BatchNorm(use_running_average=not train, dtype=self.dtype, name="bn1")
        features[-1] = nn.relu(final(x))
        classifier = nn.Dense(self.num_classes, kernel_init=TORCH_LINEAR, dtype=self.dtype, name="fc")
        return outputs(features, classifier)
