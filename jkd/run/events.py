"""A run's records as TensorBoard sees them."""

import os
import platform
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class Events:
    """A folder of TensorBoard events that this process adds to."""

    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        # TensorBoard reads a folder's files in the order of their names.
        name = f"events.out.tfevents.{time.time():017.6f}.{platform.node()}.{os.getpid()}"
        # Not by its own `EventFileWriter`: that writes in a thread, which prints what it cannot write.
        self._writer = RecordWriter(open(folder / name, "wb"))  # noqa: SIM115
        self._add(file_version="brain.Event:2")

    def log(self, step: int, record: dict[str, Any]) -> None:
        """Adds the numbers of a record; of a list each is one of its own, `name/0` and so on; no matrices."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(record)]
        self._add(step=step, summary=Summary(value=values))

    def drop_from(self, step: int) -> None:
        """Has TensorBoard drop what a process that was killed had logged at `step` and after it."""
        self._add(step=step, session_log=SessionLog(status=SessionLog.START))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _add(self, **content: Any) -> None:
        self._writer.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._writer.flush()


def _scalars(record: dict[str, Any]) -> list[tuple[str, float]]:
    scalars = []
    for name, value in record.items():
        if isinstance(value, list) and any(isinstance(entry, list) for entry in value):
            continue  # a picture's, not a curve's
        if isinstance(value, list):
            scalars += [(f"{name}/{index}", float(entry)) for index, entry in enumerate(value)]
        elif isinstance(value, int | float):
            scalars.append((name, float(value)))
    return scalars
