"""A trained network as what other runtimes run: a pure function, its variables, and what images it takes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

Run = Callable[[np.ndarray], Float[np.ndarray, "batch classes"]]
"""A program that was read back from a file: the logits of images."""


class Program(NamedTuple):
    """What is exported.

    Attributes:
        logits: The logits `[batch, classes]` as a function of variables and images.
        variables: The variables.
        image: Height, width and channels of an image.
        dtype: The images' type: uint8, 0 to 255, or float32, standardised.
        batch_size: How many images a call takes; None for any number.
    """

    logits: Callable[[PyTree, Array], Float[Array, "batch classes"]]
    variables: PyTree
    image: tuple[int, int, int]
    dtype: DTypeLike
    batch_size: int | None

    def of_images(self, images: Array) -> Float[Array, "batch classes"]:
        """Returns the logits of images, the variables being constants."""
        return self.logits(self.variables, images)

    def signature(self, batch: Any) -> jax.ShapeDtypeStruct:
        """Returns the shape and type of a batch."""
        return jax.ShapeDtypeStruct((batch, *self.image), self.dtype)
