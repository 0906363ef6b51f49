"""The folder of caches, and JSON files that survive the death of their writer.

These are replaced by an atomic rename or grow by whole lines.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from jkd.errors import UserError


def cache_folder(folder: str | None = None) -> Path:
    """Returns the folder for what can be made again: `folder`, or jkd's among the user's caches."""
    if folder is not None:
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jkd"


def plain(value: Any) -> Any:
    """A value as JSON gives it back: arrays become (lists of) numbers, float32 exactly, as doubles."""

    def number(array: Any) -> Any:
        array = np.asarray(array)
        return (array if array.dtype.kind in "biu" else array.astype(np.float64)).tolist()

    return json.loads(json.dumps(value, default=number))


def write(path: Path, text: str) -> None:
    """Replaces a file; whoever reads it, at any moment, finds the old content or the new."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replaces a file by a JSON object."""
    write(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        UserError: The file cannot be read or holds something else.
    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or give another --workdir") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (it holds no JSON object): restore it, or give another --workdir")
    return value


def write_lines(path: Path, values: list[dict[str, Any]]) -> None:
    """Replaces a file by one line per object."""
    write(path, "".join(json.dumps(value) + "\n" for value in values))


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Appends an object as one line, on the disk when this returns."""
    with open(path, "a") as file:
        file.write(json.dumps(value) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads the whole lines of a file; a last line without its end was torn by a kill. No file, no lines.

    Raises:
        UserError: The file cannot be read or a whole line is not JSON.
    """
    try:
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1]]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or give another --workdir") from error


def drop_torn_line(path: Path) -> None:
    """Cuts off what follows the last whole line, so that the next line is not appended to it."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
