"""Reading a run's folder, finished or not, without opening it for writing."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from jkd.errors import UserError
from jkd.machine import files
from jkd.machine.files import InUse as InUse
from jkd.run import checkpoints
from jkd.run import records as record_file
from jkd.run.records import Record


class Contents(NamedTuple):
    """What a run's folder says: its configuration, its records so far, and its summary if it is finished."""

    config: dict[str, Any]
    records: list[Record]
    summary: dict[str, Any] | None
    folder: Path
    sessions: list[dict[str, Any]]  # one for each start, as `jkd.provenance.session` describes it


def read(workdir: str | os.PathLike[str]) -> Contents:
    """Reads a run's folder, finished or not, without opening it for writing.

    Raises:
        UserError: `workdir` is not a run's folder, or a file in it is damaged.
    """
    folder = Path(workdir)
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a run's folder: it has no config.json")
    summary = folder / "summary.json"
    return Contents(
        files.read_json(folder / "config.json"),
        record_file.read(folder / "metrics.jsonl"),
        files.read_json(summary) if summary.exists() else None,
        folder,
        files.read_lines(folder / "sessions.jsonl"),
    )


def check_finished(workdir: str | os.PathLike[str]) -> None:
    """Holds the records of a finished run against its last checkpoint, where that vouches for them.

    Raises:
        UserError: The records are not those that the checkpoint was saved with.
    """
    records, folder = Path(workdir) / "metrics.jsonl", Path(workdir) / "checkpoints"
    steps = [int(path.name) for path in folder.glob("*") if path.name.isdecimal()]
    sealed = checkpoints.seal(folder / str(max(steps))) if steps else None
    if sealed is None:
        return
    there = record_file.mark(records.read_bytes() if records.exists() else b"")
    if there != sealed["records"]:
        raise files.damaged(
            records,
            f"its {there['count']} records are not the {sealed['records']['count']} that the run ended with",
        )


def restore_item(workdir: str | os.PathLike[str], name: str, abstract: PyTree) -> PyTree:
    """Reads one item of the newest complete checkpoint in a run's folder, such as the student of another run.

    Args:
        workdir: The run's folder; it is not changed, and may be in use by another process.
        name: The item's name, a key of the state that was saved.
        abstract: The item as arrays or `jax.ShapeDtypeStruct`s. Each array is placed by the sharding it has
            there, or else on the first device, however it was placed when it was saved.

    Raises:
        UserError: No checkpoint is complete, it lacks the item, or the item has other entries or shapes.
    """
    folder = Path(workdir) / "checkpoints"
    if not folder.is_dir():
        raise UserError(
            f"{workdir} has no checkpoint: it is not a run's folder, or its run has not saved yet"
        )
    with checkpoints.open_to_read(folder) as manager:
        step = manager.latest_step()
        if step is None:
            raise UserError(f"{workdir} has no complete checkpoint yet")
        try:
            return checkpoints.restore(manager, step, {name: abstract})[name]
        except checkpoints.Damaged as error:
            # An older checkpoint would be another network than the one that was asked for.
            raise UserError(f"{error}: restore it, or do that run again in another --workdir") from error


def item_names(workdir: str | os.PathLike[str]) -> set[str]:
    """Returns the names of the items of the newest complete checkpoint in a run's folder; none, no names."""
    folder = Path(workdir) / "checkpoints"
    if not folder.is_dir():
        return set()
    with checkpoints.open_to_read(folder) as manager:
        step = manager.latest_step()
    return (
        set() if step is None else {entry.name for entry in (folder / str(step)).iterdir() if entry.is_dir()}
    )


def check_same(folder: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Raises UserError if a run's folder belongs to another configuration; the differences are listed."""
    if there.get("format") != here.get("format"):
        raise UserError(
            f"{folder} was begun by an earlier jkd, whose runs this one cannot go on with (it can load their "
            "students): give another --workdir, or finish it with the jkd that began it"
        )
    different = files.differences(there, files.plain(here))
    if different:
        raise UserError(
            f"{folder} belongs to another configuration ({'; '.join(different)}): give another --workdir"
        )
