"""A run's records: `metrics.jsonl`, which grows by whole lines and which its checkpoints vouch for."""

import hashlib
from pathlib import Path
from typing import Any

from jkd.errors import UserError
from jkd.machine import files

Record = dict[str, Any]
"""What is logged at a step: numbers, lists of numbers (one per teacher), lists of these (one per teacher
and class) and strings, by name."""


def read(path: Path) -> list[Record]:
    """Reads the records in the order they were logged. No file, no records.

    Raises:
        UserError: A line is no record.
    """
    records = files.read_lines(path)
    for number, record in enumerate(records, 1):
        if not isinstance(record.get("step"), int):
            raise files.damaged(path, f"line {number} has no step")
    return records


def mark(lines: bytes) -> dict[str, Any]:
    """How many records there are in `lines`, and a digest of these: what a checkpoint keeps of them."""
    return {"count": lines.count(b"\n"), "digest": hashlib.sha256(lines).hexdigest()}


class Records:
    """The records of a run that this process writes."""

    def __init__(self, path: Path):
        """Takes up the file at `path`; a last line that a kill has torn is dropped."""
        self._path = path
        files.drop_torn_line(path)
        # Kept in memory, so that a checkpoint vouches for what was logged, whatever happens to the file.
        self._count, self._hash = 0, hashlib.sha256()
        self._vouch(path.read_bytes() if path.exists() else b"")

    def read(self) -> list[Record]:
        """The records so far, in the order they were logged.

        Raises:
            UserError: A line is no record.
        """
        return read(self._path)

    def append(self, record: Record) -> None:
        """Adds a record; it is on the disk when this returns."""
        self._vouch(files.append_line(self._path, record))

    def mark(self) -> dict[str, Any]:
        """How many records there are, and a digest of their lines: `rewind` comes back to them."""
        return {"count": self._count, "digest": self._hash.hexdigest()}

    def rewind(self, step: int, mark: dict[str, Any] | None) -> None:
        """Drops the records after a checkpoint.

        Args:
            step: The checkpoint's.
            mark: What `mark` gave when it was saved; None if it was saved before there were marks. Then the
                records up to its step are kept.

        Raises:
            UserError: The records up to the checkpoint are not those that it was saved with.
        """
        if mark is None:
            kept = "".join(files.line(record) for record in self.read() if record["step"] <= step).encode()
        else:
            content = self._path.read_bytes() if self._path.exists() else b""
            lines = content.splitlines(keepends=True)[: mark["count"]]
            kept = b"".join(lines)
            if len(lines) < mark["count"] or hashlib.sha256(kept).hexdigest() != mark["digest"]:
                raise UserError(
                    f"{self._path} is damaged: its first {mark['count']} records are not those that the "
                    f"checkpoint of step {step} was saved with: restore it, or give another --workdir"
                )
        self._keep(kept)

    def clear(self) -> None:
        """Drops all records, whatever state they are in."""
        self._keep(b"")

    def _keep(self, lines: bytes) -> None:
        files.replace(self._path, lambda file: file.write(lines))
        self._count, self._hash = 0, hashlib.sha256()
        self._vouch(lines)

    def _vouch(self, lines: bytes) -> None:
        self._count += lines.count(b"\n")
        self._hash.update(lines)
