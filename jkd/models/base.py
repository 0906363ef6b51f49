"""What every network gives, student and teacher alike."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Outputs(NamedTuple):
    """The outputs of a network for a batch of images.

    `features` holds the stem's and each stage's map after its ReLU, NHWC, shallow to deep; `embedding` is the globally average-pooled last
    one; `logits` are the unnormalised class scores.
    """

    logits: Float[Array, "batch classes"]
    features: tuple[Float[Array, "batch height width channels"], ...]
    embedding: Float[Array, "batch channels"]
