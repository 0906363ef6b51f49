"""A run's records as TensorBoard sees them."""

import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class Events:
    """A folder of TensorBoard events that this process adds to."""

    def __init__(self, folder: Path):
        self._writer = EventFileWriter(str(folder))

    def log(self, step: int, record: dict[str, Any]) -> None:
        """Adds the numbers of a record; of a list each is one of its own, `name/0` and so on."""
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(record)]
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self._writer.flush()

    def drop_from(self, step: int) -> None:
        """Has TensorBoard drop what a process that was killed had logged at `step` and after it."""
        start = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(wall_time=time.time(), step=step, session_log=start))

    def close(self) -> None:
        """Writes what is not written yet."""
        self._writer.close()


def _scalars(record: dict[str, Any]) -> list[tuple[str, float]]:
    scalars = []
    for name, value in record.items():
        if isinstance(value, list):
            scalars += [(f"{name}/{index}", float(entry)) for index, entry in enumerate(value)]
        elif isinstance(value, int | float):
            scalars.append((name, float(value)))
    return scalars
