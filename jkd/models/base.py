"""What every network gives, student and teacher alike."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float


class Outputs(NamedTuple):
    """The outputs of a network for a batch of images, float32 whatever the type it computes in.

    `features` holds the stem's and each stage's map, NHWC, shallow to deep. Those of ResNet and VGG come out
    of a ReLU. In WRN a batch norm and ReLU begin a block instead of ending it, so that the stem's and the
    first two stages' come before the next block's; the last comes after the network's final ones, as in the
    published code of CA-MKD, MMKD and MTKD-RL (RepDistiller hands out the signed map before these). So in
    every family the last of `features` is the map that the head sees: `embedding` is its global average, and
    `logits` are the unnormalised class scores, `Head` of the embedding.
    """

    logits: Float[Array, "batch classes"]
    features: tuple[Float[Array, "batch height width channels"], ...]
    embedding: Float[Array, "batch channels"]


class Head(NamedTuple):
    """The classifier of a network: the linear layer from the embedding to the logits."""

    kernel: Float[Array, "channels classes"]
    bias: Float[Array, " classes"]

    def __call__(self, embedding: Float[Array, "*batch channels"]) -> Float[Array, "*batch classes"]:
        """Returns the logits of embeddings."""
        return embedding @ self.kernel + self.bias


def head(variables: Any) -> Head:
    """Returns the head of the network that has these variables."""
    # It is the one matrix that a network has.
    (path,) = (path for path, leaf in jax.tree.leaves_with_path(variables["params"]) if len(leaf.shape) == 2)
    layer = variables["params"]
    for entry in path[:-1]:
        layer = layer[entry.key]
    return Head(layer["kernel"], layer["bias"])
