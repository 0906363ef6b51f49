"""Images from one `.npz` file with the arrays that Keras's data sets have."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

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
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(
            f"npz:{path}: the file cannot be read ({error}); it is truncated or no .npz"
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
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in ARRAYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"npz:{path}: an array cannot be read ({error}); the file is damaged") from error


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
