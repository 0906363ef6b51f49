"""Images from one `.npz` file with the arrays that Keras's data sets have."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jkd.data.dataset import Dataset
from jkd.data.sources.arrays import OPTIONAL, REQUIRED, from_arrays
from jkd.errors import UserError, nearest
from jkd.machine import archive


def check(path: Path) -> None:
    """Checks that the file is there, is an archive of arrays, and has those needed, without reading them.

    Raises:
        UserError: It is not.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not there"
        raise UserError(f"npz:{path}: the file is {what}; give the path of a file with {', '.join(REQUIRED)}")
    try:
        names = list(archive.headers(path))
    except (archive.Unreadable, OSError) as error:
        raise UserError(
            f"npz:{path}: the file cannot be read ({error}); it is damaged or no .npz of arrays"
        ) from error
    required = REQUIRED + (OPTIONAL if any(name in names for name in OPTIONAL) else ())
    for name in required:
        if name not in names:
            hint = nearest(name, [other for other in names if other not in required])
            raise UserError(f"npz:{path}: there is no array '{name}'{hint}; it has {', '.join(names)}")


def read(path: Path, optional: Sequence[str] = OPTIONAL) -> dict[str, np.ndarray]:
    """Reads the arrays as they are: those required, and of the optional ones those that are there.

    Raises:
        UserError: The file or one of the arrays is missing or damaged.
    """
    check(path)
    try:
        there = archive.headers(path)
        return archive.read(path, [name for name in (*REQUIRED, *optional) if name in there])
    except (archive.Unreadable, OSError) as error:
        raise UserError(f"npz:{path}: an array cannot be read ({error}); mend or replace the file") from error


def load(path: Path, image_size: int | None = None) -> Dataset:
    """Loads `x_train`, `y_train`, `x_test`, `y_test`, and `x_validation`, `y_validation` if they are there.

    Images are uint8 NHWC or NHW, labels integers `[N]` or `[N, 1]`.

    Raises:
        UserError: An array is missing, unreadable, or has a shape or type other than these.
    """
    return from_arrays(f"npz:{path}", read(path), image_size)
