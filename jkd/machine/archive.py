"""What lies in `.npz` and other zip archives, believed as far as file and memory bear it out."""

import math
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jkd.machine import system


class Unreadable(ValueError):
    """An archive or an array in it is damaged, of another kind, or too large."""


class Header(NamedTuple):
    """What an array in an archive says it is."""

    shape: tuple[int, ...]
    dtype: np.dtype


def members(path: Path) -> list[str]:
    """Returns the names of what lies, not compressed, in an archive.

    Raises:
        Unreadable: This is no archive, or it claims more than the file holds or the memory could.
    """
    with _reading(), zipfile.ZipFile(path) as archive:
        found = archive.infolist()
    claimed, held = sum(info.file_size for info in found), path.stat().st_size
    if claimed > held:
        raise Unreadable(f"its parts are to hold {claimed:,} bytes and it holds {held:,}")
    _check_memory(claimed)
    return [info.filename for info in found]


def headers(path: Path) -> dict[str, Header]:
    """Reads what the arrays in an archive are, by name, without reading their contents.

    Raises:
        Unreadable: This is no archive of arrays, or a header claims more than its file holds.
    """
    with _reading(), zipfile.ZipFile(path) as archive:
        return {
            info.filename.removesuffix(".npy"): _header(archive, info)
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }


def read(path: Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """Reads the arrays of these names, or all.

    Raises:
        Unreadable: As for `headers`, or an array is damaged, or together they exceed the memory.
    """
    there = headers(path)
    names = list(there if names is None else names)
    needed = sum(math.prod(there[name].shape) * there[name].dtype.itemsize for name in names)
    _check_memory(needed)
    with _reading(), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in names}


def _check_memory(needed: int) -> None:
    if needed > system.memory():
        have, need = system.mebibytes(system.memory()), system.mebibytes(needed)
        raise Unreadable(f"its arrays take {need} of memory, and this machine has {have}")


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(member)
        claimed, held = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
    # Objects are pickled: numpy refuses them when they are read.
    if not dtype.hasobject and claimed != held:
        raise Unreadable(f"'{info.filename}' is to hold {claimed:,} bytes and holds {held:,}")
    return Header(shape, dtype)


@contextmanager
def _reading() -> Iterator[None]:
    """Turns what is raised of a damaged archive, which depends on how it is packed, into Unreadable."""
    try:
        yield
    except Exception as error:
        if isinstance(error, Unreadable | MemoryError) or system.refusal(error) is not None:
            raise
        raise Unreadable(str(error) or type(error).__name__) from error
