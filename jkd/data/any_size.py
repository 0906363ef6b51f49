"""Images as people have them, brought to the size and type that a student sees."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from jkd.errors import UserError


def as_batch(
    images: Any, size: tuple[int, int]
) -> UInt8[np.ndarray, "n h w 3"] | Float[np.ndarray, "n h w 3"]:
    """Returns images in the given size with three channels, 0 to 255; uint8 stays uint8.

    Images of another size are scaled (bicubic) to cover it, and what stands over is cropped, as those of
    data sets are.

    Args:
        images: uint8, or float in [0, 1]: `[n, h, w, 3]`, or grey as `[n, h, w, 1]` or `[n, h, w]`.
        size: Height and width.

    Raises:
        UserError: they have another shape or type, or floats are out of range.
    """
    array = np.asarray(images)
    grey = array.ndim == 3 and array.shape[-1] not in (1, 3)
    if not (grey or (array.ndim == 4 and array.shape[-1] in (1, 3))) or 0 in array.shape[1:]:
        one = "; of a single image make images[None]" if array.ndim == 3 else ""
        raise UserError(
            f"images have shape {array.shape}; they must be [n, h, w, 3], [n, h, w, 1] or [n, h, w]{one}"
        )
    array = array[..., None] if grey else array
    array = np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array
    if array.dtype.kind == "f":
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        if not (low >= 0 and high <= 1):
            raise UserError(
                f"float images are from {low:g} to {high:g}; they must be in [0, 1], not standardised: "
                "that is done here (or give uint8, 0 to 255)"
            )
        array = array.astype(np.float32) * 255
    elif array.dtype != np.uint8:
        raise UserError(f"images have type {array.dtype}; they must be uint8, or float in [0, 1]")
    if array.shape[1:3] == tuple(size) or not len(array):
        return array if array.shape[1:3] == tuple(size) else np.zeros((0, *size, 3), array.dtype)
    return np.stack([_fit(image, size) for image in array])


def _fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    to = (size[1], size[0])
    if image.dtype == np.uint8:
        return np.asarray(ImageOps.fit(Image.fromarray(image), to, Image.Resampling.BICUBIC))
    parts = [ImageOps.fit(Image.fromarray(image[..., c]), to, Image.Resampling.BICUBIC) for c in range(3)]
    return np.stack([np.asarray(part) for part in parts], axis=-1).clip(0, 255)
