"""Training from the first step, or from a checkpoint, to the last."""

import dataclasses
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import numpy as np

from jkd import process
from jkd.data import Dataset, epoch_indices, held_out_indices
from jkd.run import Run
from jkd.training import deployed
from jkd.training.calls import Draw, compile_call
from jkd.training.deployed import Deployed
from jkd.training.evaluate import Predictor, accuracy_metrics
from jkd.training.progress import Progress
from jkd.training.state import State, student_variables, with_student
from jkd.training.step import Images, Task

# A data set stays on the device if it takes at most this share of its memory.
_RESIDENT_SHARE = 0.25
_ACCELERATOR_STEPS_PER_CALL = 100


class Interrupted(Exception):
    """SIGTERM, SIGINT or SIGHUP came; the state is saved. `signal` is its number."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.signal = number


class Diverged(Exception):
    """The loss is not finite. The message names the step and the terms; the last checkpoint is kept."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A training: what a step is, on which images, for how long."""

    name: str
    task: Task
    dataset: Dataset
    seed: int
    train_indices: np.ndarray
    held_out: np.ndarray
    batch_size: int
    epochs: int
    steps_per_call: int | None
    checkpoint_every: int
    eval_batch_size: int
    teachers: Any = ()  # the teachers' variables
    vote: np.ndarray | None = None  # the teachers' ensemble logits on the test images


@contextmanager
def _signals() -> Iterator[Callable[[], int]]:
    """Gives a function that returns the number of the signal that asked to stop, or 0."""
    with process.heard("saving after this step; once is enough") as asked_to_stop:
        yield asked_to_stop


def train(job: Job, state: State, run: Run) -> State:
    """Trains from the newest checkpoint in `run`, or from `state`, to the last epoch.

    Raises:
        Interrupted: a signal asked to stop; what was done is saved.
        Diverged: the loss is not finite any more.
    """
    task = job.task
    epoch_steps = task.epoch_steps
    state = task.devices.replicate(state)
    teachers = task.devices.replicate(job.teachers)
    step = 0
    if (restored := run.restore(_items(state))) is not None:
        step, items = restored
        state = with_student(items["training"], items["student"])
        print(f"{job.name}: resumed at step {step:,} of {task.total_steps:,}", flush=True)
    steps_per_call = job.steps_per_call or (1 if task.devices.on_cpu else _ACCELERATOR_STEPS_PER_CALL)
    call = compile_call(task, min(steps_per_call, epoch_steps))
    predict = Predictor(partial(deployed.logits, task), task.augmentation, task.devices, job.eval_batch_size)
    source = _Source(job)
    progress = Progress(job.name, task.total_steps, job.epochs, step)
    speed = _Speed(job.batch_size)
    top1: float | None = None
    try:
        with _signals() as asked_to_stop:
            while step < task.total_steps:
                epoch = step // epoch_steps
                end = (epoch + 1) * epoch_steps
                order = epoch_indices(job.seed, epoch, job.train_indices, job.batch_size)
                speed.epoch()
                unread: tuple[int, Any] | None = None
                while step < end:
                    count = min(call.steps, end - step)
                    position = step - epoch * epoch_steps
                    data, draw = source.draw(order[position : position + count], step, call.steps)
                    state, metrics = call.run(state, teachers, data, draw, step, count)
                    # One call behind, so that the device need not wait for the host.
                    loss = _check_finite(unread, run)
                    unread = (step, metrics)
                    step += count
                    speed.advance(count)
                    progress.advance(count, epoch + 1, speed.images_per_second, loss, top1)
                    if asked_to_stop() and step < end:
                        _check_finite(unread, run)
                        _stop(job, run, state, step, asked_to_stop())
                _check_finite(unread, run)
                jax.block_until_ready(state)
                record = _epoch_record(job, state, epoch + 1, predict, speed)
                state = _reset_totals(state)
                top1 = record["test/top1"]
                run.log(step, record)
                if (epoch + 1) % job.checkpoint_every == 0 or epoch + 1 == job.epochs:
                    run.save(step, _items(state))
                progress.epoch(record, speed.seconds_left(task.total_steps - step))
                if asked_to_stop() and step < task.total_steps:
                    _stop(job, run, state, step, asked_to_stop())
    finally:
        progress.close()
    return state


class _Source:
    """Gives each call its images: from device memory where the data set fits, else gathered on the host."""

    def __init__(self, job: Job):
        self._job = job
        self._held_out_size = 0
        level = job.task.method.upper_level
        if level is not None and level.memory is None:
            self._held_out_size = job.batch_size
        stats = job.task.devices.mesh.devices.flat[0].memory_stats() or {}
        limit = stats.get("bytes_limit", np.inf)
        data = Images(job.dataset.train_images, job.dataset.train_labels)
        self._resident: Images | None = None
        if data.images.nbytes <= _RESIDENT_SHARE * limit:
            self._resident = job.task.devices.replicate(data)

    def draw(self, order: np.ndarray, step: int, rows: int) -> tuple[Images, Draw]:
        """Returns images and what the steps from `step` on draw from them, filled up to `rows` rows."""
        job, size = self._job, self._held_out_size
        held_out = np.zeros((len(order), 0), np.int32)
        if size:
            drawn = [
                held_out_indices(job.seed, s, job.held_out, size) for s in range(step, step + len(order))
            ]
            held_out = np.stack(drawn)
        missing = ((0, rows - len(order)), (0, 0))
        draw = Draw(np.pad(order, missing), np.pad(held_out, missing))
        if self._resident is not None:
            return self._resident, draw
        every = np.concatenate([draw.train.ravel(), draw.held_out.ravel()])
        images = Images(job.dataset.train_images[every], job.dataset.train_labels[every])
        here = np.arange(len(every), dtype=np.int32)
        train, rest = here[: draw.train.size], here[draw.train.size :]
        return images, Draw(train.reshape(draw.train.shape), rest.reshape(draw.held_out.shape))


class _Speed:
    """Speed within an epoch, evaluation and saving not counted. The first epoch includes compilation."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._steps = 0
        self._start = time.perf_counter()

    def epoch(self) -> None:
        """Starts an epoch."""
        self._steps, self._start = 0, time.perf_counter()

    def advance(self, steps: int) -> None:
        """Counts steps that were handed to the device."""
        self._steps += steps

    @property
    def images_per_second(self) -> float:
        """Images per second since the epoch began."""
        return self._steps * self._batch_size / max(time.perf_counter() - self._start, 1e-9)

    def seconds_left(self, steps: int) -> float:
        """How long so many steps will take at the speed of this epoch."""
        return steps * self._batch_size / self.images_per_second


def _items(state: State) -> dict[str, Any]:
    """What a checkpoint holds: the student apart, so that it can be read alone."""
    return {"student": student_variables(state), "training": with_student(state, {})}


def _reset_totals(state: State) -> State:
    zeros = jax.tree.map(lambda x: x * 0, (state.totals, state.upper_totals))
    return state._replace(totals=zeros[0], upper_totals=zeros[1])


def _check_finite(unread: tuple[int, Any] | None, run: Run) -> float:
    """Returns the last loss of a call. Raises Diverged at the first step whose loss is not finite."""
    if unread is None:
        return float("nan")
    first, metrics = unread
    losses = np.asarray(metrics["loss"])
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        terms = {name: np.asarray(values)[bad[0]].tolist() for name, values in metrics.items()}
        shown = ", ".join(f"{name} {value}" for name, value in terms.items())
        raise Diverged(
            f"the loss is not finite at step {first + int(bad[0]) + 1}: {shown}; "
            f"the last good checkpoint is kept in {run.workdir}"
        )
    return float(losses[-1])


def _stop(job: Job, run: Run, state: State, step: int, number: int) -> None:
    run.save(step, _items(state))
    run.close()
    raise Interrupted(
        number,
        f"{job.name}: stopped by {signal.Signals(number).name}, saved at step {step:,} of "
        f"{job.task.total_steps:,} in {run.workdir}; the same command goes on from there",
    )


def _epoch_record(job: Job, state: State, epoch: int, predict: Predictor, speed: _Speed) -> dict[str, Any]:
    rate = speed.images_per_second
    steps = job.task.epoch_steps
    record: dict[str, Any] = {"epoch": epoch}
    for name, total in state.totals.items():
        record[f"train/{name}"] = (np.asarray(total, np.float64) / steps).tolist()
    if state.upper_totals:
        updates = max(float(state.upper_totals["updates"]), 1)
        for name in ("outer_loss", "hypergradient_norm"):
            record[f"train/{name}"] = float(state.upper_totals[name]) / updates
    logits = predict(Deployed.of(state, job.teachers), job.dataset.test_images)
    for name, value in accuracy_metrics(logits, job.dataset.test_labels).items():
        record[f"test/{name}"] = float(value)
    if job.vote is not None:
        record["test/agreement"] = float(np.mean(logits.argmax(-1) == job.vote.argmax(-1)))
    record["time/images_per_second"] = rate
    return record
