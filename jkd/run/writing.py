"""A run's folder, open for writing by one process, or by several of which one writes."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree, UInt8

from jkd.errors import UserError
from jkd.machine import files, hosts, system
from jkd.machine.files import InUse as InUse
from jkd.provenance import session
from jkd.run import checkpoints
from jkd.run.events import Events
from jkd.run.reading import check_same, read
from jkd.run.records import Record, Records


class Run:
    """A run's folder, open for writing by this process alone. Use it as a context manager, or `close` it."""

    def __init__(self, workdir: Path, lock: int):
        """Use `Run.open`."""
        self.workdir = workdir
        self._lock = lock
        self._records = Records(workdir / "metrics.jsonl")
        self._room = 0

    @classmethod
    def open(cls, workdir: str | os.PathLike[str], config: Mapping[str, Any]) -> "Run":
        """Makes a run's folder, or reopens that of the same configuration.

        Where several processes have joined for a run, the first writes, and all save and restore together.

        Args:
            workdir: The folder; it and its parents are made where missing.
            config: Everything that defines the run, as nested dictionaries of what JSON can hold.

        Raises:
            InUse: Another process is writing it.
            UserError: The folder cannot be written, holds something else, or belongs to another configuration
                (the differences are listed).
        """
        folder = Path(workdir)
        run = cls._open(folder, files.plain(config)) if hosts.is_first() else _Following(folder)
        hosts.meet(f"open {folder}")
        return run

    @classmethod
    def _open(cls, folder: Path, here: dict[str, Any]) -> Self:
        files.check_name(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A process killed at its start leaves these two behind, and no config.json.
            found = {entry.name for entry in folder.iterdir()} - {"lock", "config.json.tmp"}
            if found and "config.json" not in found:
                raise UserError(
                    f"{folder} holds {min(found)} but no config.json, so it is no run's folder: "
                    "give another --workdir"
                )
            for name in found & {"checkpoints", "tensorboard"}:
                if not (folder / name).is_dir():
                    raise UserError(f"{folder / name} is no folder: restore it, or give another --workdir")
            lock = files.lock(folder)
            try:
                files.drop_torn_line(folder / "sessions.jsonl")
                if (folder / "config.json").exists():
                    check_same(folder, files.read_json(folder / "config.json"), here)
                else:
                    files.write_json(folder / "config.json", here)
                files.append_line(folder / "sessions.jsonl", session())
                return cls(folder, lock)
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            raise UserError(
                f"cannot write the run's folder {folder} ({error.strerror}; {system.disk(folder)}): "
                "give another --workdir"
            ) from error

    @property
    def records(self) -> list[Record]:
        """The records so far, in the order they were logged."""
        return self._records.read()

    @property
    def summary(self) -> dict[str, Any] | None:
        """What `finish` was given, or None while the run is not finished."""
        return read(self.workdir).summary

    def log(self, step: int, record: Mapping[str, Any]) -> None:
        """Appends `{"step": step, **record}` to `metrics.jsonl` and its numbers to the TensorBoard events.

        Log the record of a step before saving that step: resuming keeps the records up to the checkpoint.

        Args:
            step: The number of training steps done.
            record: Scalars, vectors (one number per teacher; TensorBoard gets `name/0`, ...), matrices
                (TensorBoard gets none) and strings.
        """
        line = files.plain({"step": step, **record})
        # The events first: what is too much in them is purged on resuming, what is missing stays missing.
        with self._writing():
            self._events.log(step, line)
            self._records.append(line)

    def save(self, step: int, state: Mapping[str, PyTree]) -> None:
        """Saves a checkpoint in the background; the arrays may be donated once this returns.

        Args:
            step: The number of training steps done. Nothing is saved unless it is later than the last save.
            state: Named items, each a pytree of arrays (not a bare array); `restore_item` reads one alone.
        """
        with self._writing():
            checkpoints.save(self._checkpoints, step, state, self._records.mark())

    def restore(self, abstract: Mapping[str, PyTree]) -> tuple[int, dict[str, PyTree]] | None:
        """Goes back to the newest whole checkpoint; the records after it are dropped, in TensorBoard too.

        A checkpoint that is not whole is told in a line on standard error and moved aside.

        Args:
            abstract: The items that were saved, as arrays or `jax.ShapeDtypeStruct`s. Each array is placed by
                the sharding it has there, or else on the first device, however it was placed when saved.

        Returns:
            The step and the state, or None if there is no checkpoint and the run starts from the beginning.

        Raises:
            UserError: There are checkpoints but none is whole and of these items, entries and shapes.
        """
        self._room = checkpoints.size(abstract)
        with self._writing():
            restored = checkpoints.restore_newest(self._checkpoints, abstract, self._records.rewind)
            if restored is None:
                self._records.clear()
            self._events.drop_from(0 if restored is None else restored[0] + 1)
            if restored is None:
                self._events.begin(read(self.workdir).config)
        return restored

    def show(self, name: str, pixels: UInt8[np.ndarray, "height width channels"]) -> None:
        """Gives TensorBoard an image of what there is before the first step."""
        with self._writing():
            self._events.show(name, pixels)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Waits for the checkpoints and marks the run as finished by writing `summary.json`."""
        with self._writing():
            self._events.end()
            self._checkpoints.wait_until_finished()
            files.write_json(self.workdir / "summary.json", files.plain(summary))

    def close(self) -> None:
        """Waits for the checkpoints and gives the folder free. A second call does nothing."""
        if self._lock < 0:
            return
        try:
            for name in {"_checkpoints", "_events"} & vars(self).keys():
                with self._writing():
                    getattr(self, name).close()
        finally:
            os.close(self._lock)
            self._lock = -1

    def _writing(self) -> AbstractContextManager[None]:
        return system.writing(self.workdir, self._room)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except UserError:
            # What ended the run comes first: most often this is the same refusal once more.
            if error is None:
                raise

    @cached_property
    def _checkpoints(self) -> ocp.CheckpointManager:
        return checkpoints.open_to_write(self.workdir / "checkpoints")

    @cached_property
    def _events(self) -> Events:
        return Events(self.workdir / "tensorboard")


class _Following(Run):
    """A run's folder in the processes that do not write it: they take part in its checkpoints alone."""

    def __init__(self, workdir: Path):
        self.workdir = workdir
        self._lock = os.open(os.devnull, os.O_RDONLY)
        self._room = 0

    @property
    def records(self) -> list[Record]:
        return read(self.workdir).records

    def log(self, step: int, record: Mapping[str, Any]) -> None:
        pass

    def save(self, step: int, state: Mapping[str, PyTree]) -> None:
        checkpoints.save(self._checkpoints, step, state, {})  # the first process writes the seal

    def restore(self, abstract: Mapping[str, PyTree]) -> tuple[int, dict[str, PyTree]] | None:
        return checkpoints.restore_newest(self._checkpoints, abstract, lambda step, mark: None)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._checkpoints.wait_until_finished()
