"""Training from the first step, or from a checkpoint, to the last."""

import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jkd.data import epoch_indices
from jkd.machine import hosts, process
from jkd.machine.process import Interrupted
from jkd.run import Run
from jkd.steps import deployed
from jkd.steps.calls import Call
from jkd.steps.deployed import Deployed
from jkd.steps.evaluate import Predictor, accuracy_metrics
from jkd.steps.state import State, shardings, student_variables, with_student
from jkd.steps.task import Task
from jkd.training.job import Job, Taught
from jkd.training.progress import Progress
from jkd.training.sheet import sheet
from jkd.training.source import Source
from jkd.training.together import Diverged, Stage, Training, Turn


def train(
    job: Job, taught: Taught, state: State, run: Run, compiled: Callable[[Job], Call]
) -> Training[tuple[State, Predictor]]:
    """Trains from the newest checkpoint in `run`, or from `state`, to the last epoch: a training to drive.

    Args:
        job: What is trained.
        taught: What there is of its teachers.
        state: The state before the first step.
        run: Its folder.
        compiled: Gives its call.

    Returns:
        The last state, and what gives the deployed student's logits, compiled where epochs were trained.

    Raises:
        Interrupted: a signal or the time limit asked to stop; what was done is saved.
        Diverged: the loss is not finite any more.
    """
    task, name = job.task, run.workdir.name
    epoch_steps = task.epoch_steps
    call = compiled(job)
    state = jax.device_put(state, may_alias=False)  # steps use up theirs
    # Runs that go together are each whole: they are not split over the devices.
    state = task.devices.place(state, shardings(task.devices, state, apart=call.runs == 1))
    teachers = task.devices.replicate(taught.teachers)
    step = 0
    if (restored := run.restore(_items(task, state, teachers))) is not None:
        step, items = restored
        state = with_student(items["training"], items["student"])
        print(f"{name}: resumed at step {step:,} of {task.total_steps:,}", flush=True)
    elif hosts.is_first():
        run.show("train/augmented", sheet(job))
    logits = partial(deployed.logits, task.student, task.method.predict)
    predict = Predictor(logits, task.augmentation, task.devices, job.eval_batch_size)
    source = Source(job, taught.views)
    progress = Progress(name, task.total_steps, job.epochs, step)
    speed = _Speed(job.batch_size, call.compilation)
    top1: float | None = None
    try:
        asked_to_stop = yield Turn(step, Stage.BEGIN)
        while step < task.total_steps:
            epoch = step // epoch_steps
            end = (epoch + 1) * epoch_steps
            if not source.epoch(epoch, partial(asked_to_stop, step)):
                run.save(step, _items(task, state, teachers))
                _stop(job, run, step, asked_to_stop(step))
            order = epoch_indices(job.seed, epoch, job.train_indices, job.batch_size)
            speed.epoch()
            unread: tuple[int, Any] | None = None
            rest = order[step - epoch * epoch_steps :]
            with closing(source.calls(rest, step, call.steps, call.take)) as calls:
                for data, draw, count in calls:
                    state, metrics = yield Turn(
                        step, Stage.CALL, call, (state, teachers, data, draw, step, count)
                    )
                    source.given(metrics)
                    # One call behind, so that the device need not wait for the host.
                    last = _check_finite(unread, run)
                    unread = (step, metrics)
                    step += count
                    speed.advance(count)
                    progress.advance(count, epoch + 1, speed.images_per_second, last, top1)
                    if step < end and (asked := asked_to_stop(step)):
                        _check_finite(unread, run)
                        run.save(step, _items(task, state, teachers))
                        _stop(job, run, step, asked)
            _check_finite(unread, run)
            jax.block_until_ready(state)
            reading, rate = source.record(speed.seconds), speed.images_per_second
            if slow := source.slow(speed.seconds):
                progress.say(f"{name} epoch {epoch + 1}: {slow}")
            yield Turn(step, Stage.MEASURED)  # so that what each does next is not counted as the others' time
            record = _epoch_record(job, taught, state, epoch + 1, predict)
            # The device's time is shared by all that go together.
            record |= {"time/images_per_second": rate * call.runs} | reading
            record |= {"memory/step_bytes": call.memory()}
            record["train/learning_rate"] = task.highest_rate * float(task.relative_rate(step - 1))
            state = _reset_totals(state)
            top1 = record["test/top1"]
            run.log(step, record)
            if (epoch + 1) % job.checkpoint_every == 0 or epoch + 1 == job.epochs:
                run.save(step, _items(task, state, teachers))
            progress.epoch(record, (task.total_steps - step) * job.batch_size / rate)
            if step < task.total_steps and (asked := asked_to_stop(step)):
                run.save(step, _items(task, state, teachers))
                _stop(job, run, step, asked)
            yield Turn(step, Stage.RECORDED)
    finally:
        progress.close()
    yield Turn(step, Stage.TRAINED)
    return state, predict


class _Speed:
    """Speed within an epoch: evaluation, saving and compilation (its seconds so far) are not counted."""

    def __init__(self, batch_size: int, compilation: Callable[[], float]):
        self._batch_size, self._compilation = batch_size, compilation
        self.epoch()

    def epoch(self) -> None:
        """Starts an epoch."""
        self._steps, self._start = 0, self._now()

    def _now(self) -> float:
        return time.perf_counter() - self._compilation()

    def advance(self, steps: int) -> None:
        """Counts steps that were handed to the device."""
        self._steps += steps

    @property
    def seconds(self) -> float:
        """Seconds since the epoch began."""
        return max(self._now() - self._start, 1e-9)

    @property
    def images_per_second(self) -> float:
        """Images per second since the epoch began."""
        return self._steps * self._batch_size / self.seconds


def _items(task: Task, state: State, teachers: tuple[PyTree, ...]) -> dict[str, Any]:
    """What a checkpoint holds: the student apart, so that it can be read alone.

    Where it does not predict alone, what it needs of its method and its teachers is there too.
    """
    items = {"student": student_variables(state), "training": with_student(state, {})}
    if task.method.predict is not None:
        items["deployed"] = Deployed.of(task, with_student(state, {}), teachers)
    return items


def _reset_totals(state: State) -> State:
    zeros = jax.tree.map(lambda x: x * 0, (state.totals, state.upper_totals))
    return state._replace(totals=zeros[0], upper_totals=zeros[1])


def _check_finite(unread: tuple[int, Any] | None, run: Run) -> dict[str, Any]:
    """Returns a call's metrics. Raises Diverged at the first step whose loss is not finite."""
    if unread is None:
        return {}
    first, metrics = unread
    losses = np.asarray(metrics["loss"])
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        terms = {
            name: np.asarray(values)[bad[0]].tolist()
            for name, values in metrics.items()
            if np.ndim(values) < 3
        }
        shown = ", ".join(f"{name} {value}" for name, value in terms.items())
        raise Diverged(
            f"the loss is not finite at step {first + int(bad[0]) + 1}: {shown}; "
            f"the last good checkpoint is kept in {run.workdir}"
        )
    return metrics


def _stop(job: Job, run: Run, step: int, number: int) -> None:
    run.close()
    raise Interrupted(
        number,
        f"{run.workdir.name}: stopped by {process.called(number)}, saved at step {step:,} of "
        f"{job.task.total_steps:,} in {run.workdir}; {process.GOES_ON}",
    )


def _epoch_record(job: Job, taught: Taught, state: State, epoch: int, predict: Predictor) -> dict[str, Any]:
    steps = job.task.epoch_steps
    record: dict[str, Any] = {"epoch": epoch}
    for name, total in state.totals.items():
        record[f"train/{name}"] = (np.asarray(total, np.float64) / steps).tolist()
    if state.upper_totals:
        updates = max(float(state.upper_totals["updates"]), 1)
        for name in ("outer_loss", "hypergradient_norm"):
            record[f"train/{name}"] = float(state.upper_totals[name]) / updates
    dataset, variables = job.dataset, Deployed.of(job.task, state, taught.teachers)
    if dataset.validation_images is not None:
        logits = predict(variables, dataset.validation_images)
        for name, value in accuracy_metrics(logits, dataset.validation_labels).items():
            record[f"validation/{name}"] = float(value)
    logits = predict(variables, dataset.test_images)
    for name, value in accuracy_metrics(logits, dataset.test_labels).items():
        record[f"test/{name}"] = float(value)
    if taught.vote is not None:
        record["test/agreement"] = float(np.mean(logits.argmax(-1) == taught.vote.argmax(-1)))
    return record
