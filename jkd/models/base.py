"""What every network gives, student and teacher alike."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Outputs(NamedTuple):
    """The outputs of a network for a batch of images, float32 whatever the type it computes in.

    `features` holds the stem's and each stage's map, NHWC, shallow to deep, where the published PyTorch
    networks hand theirs out: after the ReLU in ResNet and VGG; in WRN, where a batch norm and ReLU begin a
    block instead of ending it, before the next block's. `embedding` is the global average of the map that the
    classifier sees: the last of `features`, in WRN after the final batch norm and ReLU. `logits` are the
    unnormalised class scores.
    """

    logits: Float[Array, "batch classes"]
    features: tuple[Float[Array, "batch height width channels"], ...]
    embedding: Float[Array, "batch channels"]
