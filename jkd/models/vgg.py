"""VGG with batch norm and one linear layer: Simonyan and Zisserman 2015, as published with RepDistiller."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jkd.models.base import Outputs
from jkd.models.layers import BatchNorm, conv, max_pool, outputs


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, the map halved between them by a max pooling.

    Before the last stage that is so for images 64 high alone, by the published rule.
    """

    convolutions: tuple[int, int, int, int, int]  # in each stage
    num_classes: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"], train: bool = False) -> Outputs:
        """Returns logits, features of the five stages (the first as stem), and embedding of the images."""
        x = images
        features: list[Array] = []
        channels = (64, 128, 256, 512, 512)
        for stage in range(5):
            if 1 <= stage <= 3 or (stage == 4 and images.shape[1] == 64):
                x = max_pool(x)
            for i in range(self.convolutions[stage]):
                # A stage of the original is one sequence of convolution, batch norm, ReLU, convolution, ...
                x = conv(channels[stage], 3, f"block{stage}_{3 * i}", self.dtype, bias=True)(x)
                norm = f"block{stage}_{3 * i + 1}"
                x = nn.relu(BatchNorm(use_running_average=not train, dtype=self.dtype, name=norm)(x))
            features.append(x)
        classifier = nn.Dense(
            self.num_classes, kernel_init=nn.initializers.normal(0.01), dtype=self.dtype, name="classifier"
        )
        return outputs(features, classifier)
