"""The folder of caches, and JSON files that survive the death of their writer.

These are replaced by an atomic rename or grow by whole lines.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from jkd.errors import UserError


class InUse(UserError):
    """Another process is writing the run's folder."""


class Document(dict[str, Any]):
    """A JSON object that was read from a file. An entry that it lacks is told as damage of the file."""

    path: Path

    def __missing__(self, key: str) -> Any:
        raise damaged(self.path, f"it has no '{key}'")


def cache_folder(folder: str | None = None) -> Path:
    """Returns the folder for what can be made again: `folder`, or jkd's among the user's caches.

    Raises:
        UserError: There is no home folder to look in.
    """
    try:
        if folder is not None:
            return Path(folder).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jkd"
    except RuntimeError as error:
        raise UserError("there is no home folder (HOME is not set); give --cache-dir=FOLDER") from error


def plain(value: Any) -> Any:
    """A value as JSON gives it back: arrays become (lists of) numbers, float32 exactly, as doubles."""

    def number(array: Any) -> Any:
        array = np.asarray(array)
        return (array if array.dtype.kind in "biu" else array.astype(np.float64)).tolist()

    return json.loads(json.dumps(value, default=number))


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What two (nested) objects do not agree on, one phrase each."""
    there, here = flat(there), flat(here)
    return [
        f"{name}: {there.get(name, 'absent')} there, {here.get(name, 'absent')} here"
        for name in there | here
        if name not in there or name not in here or there[name] != here[name]
    ]


def check_name(folder: Path) -> None:
    """Raises UserError if a folder's name is not what the libraries that write there take for a name."""
    try:
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"--workdir={str(folder)!a} is no UTF-8: rename it, or run with LC_ALL=C.UTF-8"
        ) from error


def replace(path: Path, write_to: Callable[[IO[bytes]], object]) -> None:
    """Replaces a file by what `write_to` writes; whoever reads it finds the old content or the new."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        write_to(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write(path: Path, text: str) -> None:
    """Replaces a file by a text."""
    replace(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replaces a file by a JSON object."""
    write(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; asking it, or an object in it, for an entry that it lacks raises UserError.

    Raises:
        UserError: The file cannot be read or holds something else.
    """
    try:
        return _document(path, path.read_bytes())
    except OSError as error:
        raise damaged(path, error) from error


def line(value: dict[str, Any]) -> str:
    """An object as a line of a file."""
    return json.dumps(value) + "\n"


def append_line(path: Path, value: dict[str, Any]) -> bytes:
    """Appends an object as one line, on the disk when this returns; returns the line."""
    content = line(value).encode()
    with open(path, "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return content


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Reads the whole lines of a file; a last line without its end was torn by a kill. No file, no lines.

    Raises:
        UserError: The file cannot be read or a whole line is no JSON object.
    """
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise damaged(path, error) from error
    return [_document(path, content) for content in content.split(b"\n")[:-1]]


def drop_torn_line(path: Path) -> None:
    """Cuts off what follows the last whole line, so that the next line is not appended to it."""
    if path.exists():
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)


def lock(folder: Path) -> int:
    """Takes a folder for this process; the system gives it free when the process ends, however it ends.

    Raises:
        InUse: Another process has it.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InUse(
            f"{folder} is in use by another process: wait for it, or give another --workdir"
        ) from None
    return descriptor


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a folder's lock.

    Raises:
        InUse: Another process has it.
    """
    descriptor = lock(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def damaged(path: Path, why: object) -> UserError:
    """The error of a file in a run's folder that does not hold what jkd wrote."""
    return UserError(f"{path} is damaged ({why}): restore it, or give another --workdir")


def flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested dictionaries as one, names joined by dots."""
    found: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _document(path: Path, content: bytes) -> Document:
    def document(entries: dict[str, Any]) -> Document:
        made = Document(entries)
        made.path = path
        return made

    try:
        value = json.loads(content, object_hook=document)
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error
    if not isinstance(value, Document):
        raise damaged(path, "it holds no JSON object")
    return value
