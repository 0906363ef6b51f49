"""Images of any size and number of channels made alike."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jkd.errors import UserError
from jkd.machine import system

LARGEST_SIZE = 4096
"""Height and width that `--image-size` may ask for."""


_DECODED_OUTSIDE = {"EPS", "WMF", "BUFR", "GRIB", "HDF5"}  # by Ghostscript, Windows, or what a program adds


def formats() -> list[str]:
    """The image formats that Pillow decodes by itself, by Pillow's names."""
    Image.init()
    return sorted(Image.OPEN.keys() - _DECODED_OUTSIDE)


def read(file: Path) -> Image.Image:
    """Reads an image file.

    Raises:
        UserError: It is no file, no image of a format that Pillow decodes by itself, damaged, or has more
            than 8 bits a channel.
    """
    if not file.is_file():  # opening a pipe would wait for ever
        raise UserError(f"'{file}' cannot be read (it is no file); an image file is needed")
    try:
        image = Image.open(file, formats=formats())
        image.load()
    except UnidentifiedImageError as error:
        raise UserError(
            f"'{file}' is not an image of a format that Pillow decodes by itself; convert or remove it"
        ) from error
    except Exception as error:  # each format has its own
        if isinstance(error, MemoryError) or system.refusal(error) is not None:
            raise
        raise UserError(f"'{file}' cannot be read ({error}); replace or remove it") from error
    if image.mode[0] in "IF":
        # Pillow would clip these to 255 instead of scaling them.
        raise UserError(f"'{file}' has more than 8 bits a channel (mode {image.mode}); convert it to 8")
    return image


def check_size(image_size: int | None) -> None:
    """Raises UserError if images cannot be scaled to this size."""
    if image_size is not None and not 1 <= image_size <= LARGEST_SIZE:
        raise UserError(f"--image-size={image_size} is not possible; it must be 1 to {LARGEST_SIZE}")


def resize(image: Image.Image, size: int) -> Image.Image:
    """Scales an image (bicubic) to cover `size` x `size` pixels and crops what stands over."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def stack(
    images: Iterable[tuple[str, Image.Image]], count: int, image_size: int | None
) -> UInt8[np.ndarray, "count height width 3"]:
    """Collects images into one array, as three channels.

    Args:
        images: `count` images, each with the name by which an error speaks of it.
        count: How many.
        image_size: Height and width to scale and crop each to; None demands that they are of one size.

    Returns:
        The array, 0 to 255.

    Raises:
        UserError: An image differs in size from the first, and no size is given; or all together exceed the
            memory.
    """
    check_size(image_size)
    array = np.empty((0, 0, 0, 3), np.uint8)
    first = ""
    for index, (name, image) in enumerate(images):
        image = image.convert("RGB")
        if image_size is not None:
            image = resize(image, image_size)
        if index == 0:
            # Filled in place: a list of images and its stacked copy would take twice the memory.
            _check_memory(count, image.height, image.width)
            array, first = np.empty((count, image.height, image.width, 3), np.uint8), name
        if array.shape[1:3] != (image.height, image.width):
            raise unlike(name, image, first, (array.shape[1], array.shape[2]))
        array[index] = np.asarray(image)
    return array


def unlike(name: str, image: Image.Image, first: str, size: tuple[int, int]) -> UserError:
    """Returns the error of an image that is not of the first one's height and width."""
    return UserError(
        f"{name} is {image.height}x{image.width} pixels but {first} is {size[0]}x{size[1]}; "
        "give --image-size=N to scale all images to NxN"
    )


def _check_memory(count: int, height: int, width: int) -> None:
    needed = count * height * width * 3
    if needed > system.memory():
        raise UserError(
            f"{count:,} images of {height}x{width} pixels take {system.mebibytes(needed)} of memory, and "
            f"this machine has {system.mebibytes(system.memory())}; "
            "give a smaller --image-size, or fewer images; folders and tensorflow-datasets can be streamed"
        )


def three_channels(
    images: UInt8[np.ndarray, "*any"], where: str, image_size: int | None = None
) -> UInt8[np.ndarray, "examples height width 3"]:
    """Brings an array of images to NHWC with three channels, and to `image_size` if given.

    Args:
        images: `[N, H, W]`, `[N, H, W, 1]` or `[N, H, W, 3]`, 0 to 255. Grey images get their one channel
            three times.
        where: What begins an error's message: the file and the array.
        image_size: Height and width of the result; None keeps them.

    Returns:
        The images.

    Raises:
        UserError: As `check_images` does.
    """
    check_images(images, where)
    grey = images.ndim == 3
    images = images[..., None] if grey else images
    if images.shape[-1] == 1:
        images = np.repeat(images, 3, axis=-1)
    if image_size is None or images.shape[1:3] == (image_size, image_size):
        return np.ascontiguousarray(images)
    return stack((("", Image.fromarray(image)) for image in images), len(images), image_size)


def check_images(images: np.ndarray, where: str) -> None:
    """Checks that an array is one that `three_channels` takes.

    Raises:
        UserError: Another shape, or another type than uint8; where the numbers tell how they would become
            uint8, the message does.
    """
    channels = images.shape[3:]
    if images.ndim not in (3, 4) or channels not in ((), (1,), (3,)) or 0 in images.shape[1:]:
        # PyTorch's order.
        remedy = ": x.transpose(0, 2, 3, 1)" if images.ndim == 4 and images.shape[1] in (1, 3) else ""
        raise UserError(
            f"{where} has shape {images.shape}; "
            f"images must be [N, H, W], [N, H, W, 1] or [N, H, W, 3]{remedy}"
        )
    if images.dtype != np.uint8:
        raise UserError(f"{where} has type {images.dtype}; images must be uint8, 0 to 255{_remedy(images)}")


def _remedy(images: np.ndarray) -> str:
    if images.dtype.kind not in "iuf" or images.size == 0 or not 0 <= images.min() <= images.max() <= 255:
        return ""
    if images.dtype.kind == "f" and images.max() <= 1:
        # The usual form of images elsewhere: everyone meets this once.
        return ": multiply by 255 and convert to uint8, (255 * x).round().astype('uint8')"
    return ": convert them, x.round().astype('uint8')"
