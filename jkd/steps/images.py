"""Images as they are stored, and how they become what networks see."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from jkd.data.augment import augment, resized_crop, standardise
from jkd.methods.asked import Kept

# Of the fixed views of images, the same for all runs: what teachers say of them can be shared.
_VIEWS_SEED = 0


class Images(NamedTuple):
    """A data set, or a batch of it, as it is stored; `positions` are those in the training images.

    Where images are shown in fixed views, `views` says which, and `said` is what the teachers say of these.
    """

    images: UInt8[Any, "examples height width channels"]
    labels: Int[Any, " examples"]
    positions: Int[Any, " examples"]
    views: Int[Any, " examples"] | tuple[()] = ()
    said: Kept = ()


class Batches(NamedTuple):
    """The images of a call's steps, where the data set is not on the devices.

    Columns are of shape [batch, steps, ...], split over the devices along the first axis: each has its own
    rows of every batch, and no other.
    """

    train: Images
    held_out: Images | None = None


Data = Images | Batches
"""Of a call: a data set, or its batches alone."""


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How images become what the networks see. `mean` and `std` are per channel, of images in [0, 1].

    `resized_crop` is the least share of an image's area that a random crop keeps, None where there is none.
    """

    crop_padding: int
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resized_crop: float | None = None

    def train(self, key: PRNGKeyArray, images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns images cropped, flipped and standardised."""
        if self.resized_crop is not None:
            images = resized_crop(jax.random.fold_in(key, 0), images, self.resized_crop)
        return self.evaluate(augment(key, images, crop_padding=self.crop_padding, flip=self.flip))

    def in_views(
        self, views: Int[Any, " b"], positions: Int[Array, " b"], images: UInt8[Array, "b h w c"]
    ) -> Float[Array, "b h w c"]:
        """Returns images as `train` does, each in the view of this number of the image at this position."""

        def one(view: Array, position: Array, image: Array) -> Array:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(_VIEWS_SEED), view), position)
            return self.train(key, image[None])[0]

        return jax.vmap(one)(views, positions, images)

    def evaluate(self, images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns images standardised."""
        return standardise(images, jnp.asarray(self.mean), jnp.asarray(self.std))
