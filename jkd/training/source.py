"""Where the images of a compiled call come from, and what teachers say of their views."""

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Int32, PyTree

from jkd.data import held_out_indices, view_of_epoch
from jkd.data.streamed import Batch, Crops, Streamed
from jkd.errors import UserError
from jkd.machine import hosts, system
from jkd.methods.asked import Kept
from jkd.steps.calls import Draw
from jkd.steps.images import Batches, Data, Images
from jkd.training.job import Job, Views
from jkd.training.wait import Wait

_ACCELERATOR_STEPS_PER_CALL = 100
# A data set stays on the device if it takes at most this share of its memory, and so does what is said of a
# view; else that is read into the host's memory if it takes at most this share of it.
_RESIDENT_SHARE = 0.25
# The images of all steps of a call are there together: of those that are streamed at most so many bytes.
_CALL_BYTES = 2**26
# The share of an epoch that the device may wait for images before the run says so.
_TOLERATED_WAIT = 0.05

Order = Int32[np.ndarray, "steps batch"]


class Source:
    """Gives each call its images.

    From device memory where the data set fits, whole on every device of every host; else batches, split over
    the devices, of which each process has, in memory or read by threads, the rows of its devices. What
    teachers say of a view is a column beside the images: on the device, in memory or memory-mapped.
    """

    def __init__(self, job: Job, views: Views | None = None):
        self._job, self._views = job, views
        self._mine = job.task.devices.rows(job.batch_size, _held_out_size(job))
        self._view = -1
        self._said: Kept = ()
        self._wait, self._told = Wait(), 0.0
        self._resident: Images | None = None
        if job.dataset.streamed:
            return
        self._room = _room(job)
        every = np.arange(len(job.dataset.train_labels), dtype=np.int32)
        data = Images(job.dataset.train_images, job.dataset.train_labels, every)
        if data.images.nbytes <= self._room:
            self._resident = job.task.devices.replicate(data)

    def epoch(self, epoch: int, asked_to_stop: Callable[[], int]) -> bool:
        """Makes ready what teachers say of an epoch's view; False if asked to stop before it was."""
        if self._views is None:
            return True
        view = view_of_epoch(self._job.seed, epoch, self._views.number)
        if view == self._view:
            return True
        self._said = ()  # its room is for the next
        if self._resident is not None:
            self._resident = self._resident._replace(views=(), said=())
        said = self._views.said(view, asked_to_stop)
        if said is None:
            return False
        place = self._views.place or self._place(sum(x.nbytes for x in jax.tree.leaves(said)))
        if place == "device" and self._resident is None:
            raise UserError("--teacher-outputs-in=device: not even the images fit there; leave it out")
        if place == "host":
            said = jax.tree.map(np.array, said)
        if place == "device":
            assert self._resident is not None
            views = np.full(len(self._job.dataset.train_labels), view, np.int32)
            views, said = self._job.task.devices.replicate((views, said))
            self._resident = self._resident._replace(views=views, said=said)
        self._view, self._said = view, said
        return True

    def _place(self, size: int) -> str:
        """Returns where what is said of a view has room, of so many bytes."""
        host = _RESIDENT_SHARE * system.memory()
        device = host if self._job.task.devices.on_cpu else self._room
        # Where it is on the devices is part of the program, which all processes share.
        if self._resident is not None and hosts.agreed(lambda: size <= device):
            return "device"
        return "host" if size <= host else "file"

    def calls(
        self, order: Order, step: int, rows: int, take: Callable[[int, int], int]
    ) -> Generator[tuple[Data, Draw, int], None, None]:
        """Returns for one call after another its images, what its steps draw from them, and their number.

        Args:
            order: The training images of the steps from `step` on, to the end of the epoch.
            step: The first step.
            rows: Steps in a call; where one takes fewer, its draw is filled up to as many.
            take: Returns how many a call takes, by its first step and the end of the epoch.
        """
        self._wait = Wait()
        steps = _Steps(self._job, order, step)
        resident = self._resident
        if resident is not None and self._views is not None and not resident.said:
            resident = None
        batches = None if resident is not None else self._batches(steps, step)
        start = 0
        while start < len(order):
            count = take(step + start, step + len(order))
            places = np.stack([steps[start + row] for row in range(count)])
            filled = np.pad(places, ((0, rows - count), (0, 0)))
            start += count
            batch_size, size = order.shape[1], filled.shape[1] - order.shape[1]
            if batches is None:
                assert resident is not None
                yield resident, Draw(filled[:, :batch_size], filled[:, batch_size:]), count
                continue
            images = np.zeros((len(self._mine), rows, *self._job.batch_shape[1:]), np.uint8)
            for row in range(count):
                images[:, row] = next(batches)
            self._wait.ends()
            # Each step finds its batch at its own number.
            number = np.arange(rows, dtype=np.int32)[:, None]
            draw = Draw(number.repeat(batch_size, 1), number.repeat(size, 1))
            yield self._split(images, filled.T[self._mine].astype(np.int32), size), draw, count

    def _split(self, images: np.ndarray, positions: np.ndarray, held_out: int) -> Batches:
        """Returns batches, of this process's rows of them, whose last come from `held_out` rows."""
        job, trained = self._job, int((self._mine < self._job.batch_size).sum())

        def split(columns: Any, size: int) -> Any:
            return jax.tree.map(lambda column: job.task.devices.split(column, size), columns)

        labels = job.dataset.train_labels[positions].astype(np.int32)
        every = Images(images, labels, positions)
        if self._views is not None:
            views = np.full(labels.shape, self._view, np.int32)
            every = every._replace(
                views=views, said=jax.tree.map(lambda column: column[positions], self._said)
            )
        train = jax.tree.map(lambda x: x[:trained], every)
        apart = jax.tree.map(lambda x: x[trained:], every)
        return Batches(split(train, job.batch_size), split(apart, held_out) if held_out else None)

    def given(self, results: PyTree) -> None:
        """Is told what the call with the last images will result in."""
        self._wait.begins_after(results)

    def record(self, seconds: float) -> dict[str, float]:
        """Returns what is recorded of an epoch's reading: the share of its seconds that the device waited."""
        return {"time/waited_share": self._wait.seconds / seconds} if self._job.dataset.streamed else {}

    def slow(self, seconds: float) -> str:
        """Returns what is to be said of an epoch that waited for images; once, and again if it gets worse."""
        share = self._wait.seconds / seconds
        if not self._job.dataset.streamed or share <= max(_TOLERATED_WAIT, 2 * self._told):
            return ""
        self._told = share
        return (
            f"the device waited for images in {share:.0%} of the epoch: {system.cores()} cores do not decode "
            "them as fast as it takes them; more cores, or smaller files, would make it faster"
        )

    def _batches(self, steps: "_Steps", step: int) -> Iterator[Batch]:
        job, images = self._job, self._job.dataset.train_images
        if not isinstance(images, Streamed):
            return (images[places[self._mine]] for places in steps)
        least = job.resized_crop
        crops = None if least is None else Crops(job.seed, step, job.batch_size, least)
        return images.batches(steps, crops, self._wait.looks, self._mine)


class _Steps(Sequence[Int32[np.ndarray, " images"]]):
    """The images of each step, those that it is trained on and then those held out; drawn when needed."""

    def __init__(self, job: Job, order: Order, first: int):
        size = _held_out_size(job)

        @lru_cache(256)  # reading asks for one after another, from several threads
        def drawn(row: int) -> np.ndarray:
            if not size:
                return order[row]
            return np.concatenate([order[row], held_out_indices(job.seed, first + row, job.held_out, size)])

        self._drawn, self._count = drawn, len(order)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, row):  # type: ignore[no-untyped-def]
        if not 0 <= row < self._count:
            raise IndexError(row)
        return self._drawn(row)


def steps_per_call(job: Job) -> int:
    """Returns how many steps one compiled call has, at most an epoch's."""
    steps = job.steps_per_call
    if steps is None:
        steps = 1 if job.task.devices.on_cpu else _ACCELERATOR_STEPS_PER_CALL
        if job.dataset.streamed:
            steps = max(1, min(steps, _CALL_BYTES // (_step_images(job) * _image_bytes(job))))
    return min(steps, job.task.epoch_steps)


def can_share(job: Job) -> bool:
    """Whether a run can share its calls with others: all its images on the device, and no views."""
    return not job.dataset.streamed and not job.views and job.dataset.train_images.nbytes <= _room(job)


def reading(job: Job) -> str:
    """Returns how images are streamed, and the memory that it takes at most; nothing where they are not."""
    images = job.dataset.train_images
    if not isinstance(images, Streamed):
        return ""
    step, tested = _step_images(job), min(job.eval_batch_size, len(job.dataset.test_images))
    # What waits, is collected for a call, and two calls, the next one too, with copies that JAX may hold.
    training = images.ahead(step) + 5 * steps_per_call(job) * step
    testing = images.ahead(tested) + 3 * tested
    most = system.mebibytes(max(training, testing) * _image_bytes(job))
    return f"read by {system.cores()} threads, at most {most} of images at once beside what these decode"


def _room(job: Job) -> float:
    stats = job.task.devices.mesh.local_devices[0].memory_stats() or {}
    return _RESIDENT_SHARE * stats.get("bytes_limit", np.inf)


def _held_out_size(job: Job) -> int:
    level = job.task.method.upper_level
    return job.batch_size if level is not None and level.memory is None else 0


def _step_images(job: Job) -> int:
    return job.batch_size + _held_out_size(job)


def _image_bytes(job: Job) -> int:
    return int(np.prod(job.dataset.train_images.shape[1:]))
