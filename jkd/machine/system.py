"""What the machine refuses (room, open files, permission), told in a line whoever raises it."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jkd.errors import UserError

_REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the whole machine has too many open files; close other programs",
    errno.ENOMEM: "free some memory",
    errno.EROFS: "have the disk mounted for writing",
    errno.EACCES: "have the permission given",
    errno.EPERM: "have the permission given",
}


def refusal(error: BaseException) -> str | None:
    """What the machine refused and what would help, or None if `error` speaks of something else.

    A file that is missing or that a disk cannot read is no refusal: it is the file that is wrong.
    """
    path: str | None = None
    if isinstance(error, OSError):
        number, path = error.errno, error.filename
    else:  # tensorstore gives the number within the text of a ValueError, at the end of a chain of files
        found = re.search(r"os_error_code='(\d+)'", str(error))
        number = int(found[1]) if found else None
        path = (re.findall(r'"(/[^"]*)"', str(error)) or [None])[-1]
    if number not in _REMEDIES:
        return None
    return f"{os.strerror(number)}{f' ({path})' if path else ''}: {_REMEDIES[number]}"


def disk(folder: Path) -> str:
    """Names the disk that a folder lies on, and what is free on it."""
    mount = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.ismount(path))
    return f"the disk at {mount} has {mebibytes(shutil.disk_usage(mount).free)} free"


def mebibytes(count: float) -> str:
    """A number of bytes as a person reads it."""
    return f"{count / 2**20:,.1f} MiB"


@contextmanager
def writing(folder: Path, room: int) -> Iterator[None]:
    """Tells in one line what the machine refused while a run's folder was written, and what would help.

    Args:
        folder: The run's.
        room: The bytes that a checkpoint takes at most.

    Raises:
        UserError: The machine refused something, or the folder was removed.
    """
    removed = UserError(f"{folder}, or a part of it, was removed while the run was writing it: start again")
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) or str(error).startswith("NOT_FOUND"):
            raise removed from error
        refused = refusal(error)
        if refused is None:
            raise
        raise UserError(
            f"cannot write the run's folder {folder}: {refused}; {disk(folder)} and a checkpoint takes up to "
            f"{mebibytes(room)}; what was saved before is whole, and the same command goes on from there"
        ) from error
    # Orbax makes the folders that it misses.
    if not (folder / "config.json").exists():
        raise removed


def cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """The bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
