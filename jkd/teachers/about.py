"""What a folder of teachers' outputs says of itself: what made it, their heads and test logits."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from jkd.errors import UserError
from jkd.machine import files

_FORMAT = 1


def create(path: Path, of: dict[str, Any], about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Makes a folder, or checks that one that is there is of the same.

    Args:
        path: The folder.
        of: What decides its numbers, of what JSON can hold.
        about: What else is to be known of it.
        arrays: The teachers' heads and test logits.

    Raises:
        UserError: The folder cannot be made, is something else, or of something else.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        while not (path / "about.json").exists():
            try:
                with files.locked(path):
                    _create(path, of, about, arrays)
            except files.InUse:
                time.sleep(1)
    except OSError as error:
        raise UserError(f"--teacher-outputs={path}: it cannot be written ({error.strerror})") from error
    check(path, of)


def _create(path: Path, of: dict[str, Any], about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    begun = {"lock", "teachers.npz", "teachers.npz.tmp", "about.json.tmp"}  # by a process that was killed
    found = {entry.name for entry in path.iterdir()}
    if "about.json" in found:
        return
    if found - begun:
        raise UserError(
            f"{path} holds {min(found - begun)} but no about.json: give another --teacher-outputs"
        )
    files.replace(path / "teachers.npz", lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]
    files.write_json(path / "about.json", files.plain({"format": _FORMAT, "of": of} | about))


def read(path: Path) -> dict[str, Any]:
    """Returns what a folder says of itself.

    Raises:
        UserError: It is no such folder, is damaged, or of another jkd.
    """
    if not (path / "about.json").exists():
        raise UserError(
            f"--teacher-outputs={path}: there are no teachers' outputs (no about.json); with --teachers they "
            "are made there"
        )
    about = files.read_json(path / "about.json")
    if about["format"] != _FORMAT:
        raise UserError(f"{path} is of format {about['format']}, and this jkd reads format {_FORMAT}")
    return about


def check(path: Path, of: dict[str, Any]) -> None:
    """Raises UserError unless a folder is of what is given: the same images, augmentation and teachers."""
    there = read(path)["of"]
    here = files.plain(of)
    known = {name: value for name, value in there.items() if name in here}
    if differences := files.differences(known, here):
        raise UserError(
            f"the teachers' outputs in {path} are of something else ({'; '.join(differences)}): give another "
            "--teacher-outputs"
        )


def damaged(path: Path, why: object) -> UserError:
    """The error of a file that does not hold what jkd wrote."""
    return UserError(f"{path} is damaged ({why}): restore it, or remove the folder to have it made anew")
