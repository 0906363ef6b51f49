"""Decoded images of tensorflow-datasets, kept from one start to the next."""

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jkd.machine import files


def place(builder: Any, image_size: int | None, cache_dir: str | None) -> Path:
    """Returns the file for a data set's images at one size, whether it is there or not."""
    folder = files.cache_folder(cache_dir)
    # Two data directories may hold different data under one name.
    origin = hashlib.sha256(os.path.realpath(builder.data_path).encode()).hexdigest()[:8]
    size = f"-{image_size}px" if image_size else ""
    return folder / f"{builder.info.full_name.replace('/', '-')}{size}-{origin}.npz"


def save(file: Path, arrays: dict[str, Any]) -> None:
    """Writes the cache, all or nothing. A run can do without: a full or read-only disk is only a warning."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.{os.getpid()}")  # two runs may decode at once
        try:
            with open(temporary, "wb") as stream:
                np.savez(stream, **arrays)
            os.replace(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(
            f"decoded images are not kept, so the next start decodes them again: {error}", stacklevel=2
        )
