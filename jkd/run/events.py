"""A run's records as TensorBoard sees them."""

import io
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.summary.writer.record_writer import RecordWriter

_WEIGHTS, _BY_CLASS = "train/weight_", "train/class_weight_"
_BINS = 20  # of [0, 1]


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
        """Adds the numbers of a record; of a list each is one of its own, `name/0` and so on.

        Of the teachers' weights it adds histograms: of all teachers' weights, and, where these depend on the
        example, of each teacher's shares of the classes.
        """
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(record)]
        values += [Summary.Value(tag=tag, histo=_histogram(shares)) for tag, shares in _shares(record)]
        self._add(step=step, summary=Summary(value=values))

    def begin(self, config: dict[str, Any]) -> None:
        """Adds what the run is, for TensorBoard's HParams, which compares the runs below a folder by it."""
        info = plugin_data_pb2.SessionStartInfo(start_time_secs=time.time())
        for name, value in _hyperparameters(config):
            if isinstance(value, bool):
                info.hparams[name].bool_value = value
            elif isinstance(value, int | float):
                info.hparams[name].number_value = value
            else:
                info.hparams[name].string_value = str(value)
        self._hparams(hparams.SESSION_START_INFO_TAG, session_start_info=info)

    def end(self) -> None:
        """Adds that the run is finished, for HParams."""
        done = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
        self._hparams(hparams.SESSION_END_INFO_TAG, session_end_info=done)

    def show(self, name: str, pixels: UInt8[np.ndarray, "height width channels"]) -> None:
        """Adds an image at step 0."""
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
        height, width, channels = pixels.shape
        image = Summary.Image(
            height=height, width=width, colorspace=channels, encoded_image_string=file.getvalue()
        )
        self._add(step=0, summary=Summary(value=[Summary.Value(tag=name, image=image)]))

    def drop_from(self, step: int) -> None:
        """Has TensorBoard drop what a process that was killed had logged at `step` and after it."""
        self._add(step=step, session_log=SessionLog(status=SessionLog.START))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _hparams(self, tag: str, **content: Any) -> None:
        about = hparams.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
        value = Summary.Value(tag=tag, metadata=about, tensor=hparams.NULL_TENSOR)
        self._add(step=0, summary=Summary(value=[value]))

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


def _shares(record: dict[str, Any]) -> Iterator[tuple[str, Float[np.ndarray, " shares"]]]:
    """Gives the teachers' weights as histograms have them: of all teachers, and of each by class."""
    for name, value in record.items():
        if name.startswith(_WEIGHTS) and not name.endswith("_std"):
            yield f"weights/{name.removeprefix(_WEIGHTS)}", np.asarray(value, float)
        elif name.startswith(_BY_CLASS):
            parts = np.asarray(value, float)
            seen = parts.sum(0) > 0  # an epoch need not have shown every class
            for teacher, shares in enumerate(parts[:, seen] / parts[:, seen].sum(0) if seen.any() else ()):
                yield f"weights_by_class/{name.removeprefix(_BY_CLASS)}/{teacher}", shares


def _histogram(values: Float[np.ndarray, " values"]) -> HistogramProto:
    counts, edges = np.histogram(values.clip(0, 1), bins=_BINS, range=(0, 1))
    return HistogramProto(
        min=values.min(),
        max=values.max(),
        num=len(values),
        sum=values.sum(),
        sum_squares=np.square(values).sum(),
        bucket_limit=edges[1:],
        bucket=counts,
    )


def _hyperparameters(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Gives what runs are compared by, without what only says which data and teachers exactly."""
    for name in ("method", "student", "seed"):
        if name in config:
            yield name, config[name]
    for part in ("hyperparameters", "recipe"):
        for name, value in config.get(part, {}).items():
            yield name if part == "recipe" else f"method/{name}", value
    if "dataset" in config:
        yield "dataset", config["dataset"].get("name", "")
    if "teachers" in config:
        named = [one.get("name", "?") if isinstance(one, dict) else one for one in config["teachers"]]
        yield "teachers", ", ".join(map(str, named))
