"""Images from one `.npz` file with the arrays that Keras's data sets have."""

from pathlib import Path

import numpy as np

from jkd import archive
from jkd.data.dataset import Dataset, assemble
from jkd.data.images import three_channels
from jkd.errors import UserError, nearest

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def check(path: Path) -> None:
    """Checks that the file is there, is an archive of arrays, and has those needed, without reading them.

    Raises:
        UserError: It is not.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not there"
        raise UserError(f"npz:{path}: the file is {what}; give the path of a file with {', '.join(ARRAYS)}")
    try:
        names = list(archive.headers(path))
    except (archive.Unreadable, OSError) as error:
        raise UserError(
            f"npz:{path}: the file cannot be read ({error}); it is damaged or no .npz of arrays"
        ) from error
    for name in ARRAYS:
        if name not in names:
            raise UserError(
                f"npz:{path}: there is no array '{name}'{nearest(name, names)}; it has {', '.join(names)}"
            )


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads the arrays as they are.

    Raises:
        UserError: The file or one of the arrays is missing or damaged.
    """
    check(path)
    try:
        return archive.read(path, ARRAYS)
    except (archive.Unreadable, OSError) as error:
        raise UserError(f"npz:{path}: an array cannot be read ({error}); mend or replace the file") from error


def load(path: Path, image_size: int | None = None) -> Dataset:
    """Loads `x_train`, `y_train`, `x_test`, `y_test`: uint8 images NHWC or NHW, integer labels `[N]` or `[N,
    1]`.

    Raises:
        UserError: An array is missing, unreadable, or has a shape or type other than these.
    """
    arrays = read(path)
    parts = []
    for part in ("train", "test"):
        images = three_channels(arrays[f"x_{part}"], f"npz:{path}: x_{part}", image_size)
        labels = _labels(arrays[f"y_{part}"], f"npz:{path}: y_{part}")
        if len(images) != len(labels):
            raise UserError(
                f"npz:{path}: x_{part} has {len(images)} images but y_{part} has {len(labels)} labels"
            )
        _check_range(labels, len(arrays["y_train"]), f"npz:{path}: y_{part}")
        parts.append((images, labels))
    return assemble(f"npz:{path}", parts[0], parts[1])


def _labels(labels: np.ndarray, where: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise UserError(
            f"{where} has shape {labels.shape}; labels must be [N] or [N, 1], one class number per image"
        )
    if labels.dtype.kind not in "iu":
        raise UserError(f"{where} has type {labels.dtype}; labels must be integers")
    return labels.astype(np.int64)


def _check_range(labels: np.ndarray, count: int, where: str) -> None:
    """Raises UserError at a label too great for `count` training images, before classes are counted."""
    if count and len(labels) and labels.max() >= count:
        raise UserError(
            f"{where} has label {labels.max()} at image {labels.argmax()}; with {count} training images "
            f"there are at most {count} classes, numbered from 0"
        )
