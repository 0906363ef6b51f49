"""Where the images of a compiled call come from, and what teachers say of their views."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Int32, PyTree

from jkd.data import held_out_indices, view_of_epoch
from jkd.data.streamed import Batch, Crops, Streamed
from jkd.errors import UserError
from jkd.machine import system
from jkd.methods.asked import Kept
from jkd.training.calls import Draw
from jkd.training.images import Images
from jkd.training.job import Job, Views

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

    From device memory where the data set fits there, else from the host's, or read by threads. What teachers
    say of a view is a column beside the images: on the device, in the host's memory or memory-mapped.
    """

    def __init__(self, job: Job, views: Views | None = None):
        self._job, self._views = job, views
        self._view = -1
        self._said: Kept = ()
        self._wait = _Wait()
        self._told = 0.0
        self._resident: Images | None = None
        if job.dataset.streamed:
            return
        stats = job.task.devices.mesh.local_devices[0].memory_stats() or {}
        self._room = _RESIDENT_SHARE * stats.get("bytes_limit", np.inf)
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
        if self._resident is not None and size <= device:
            return "device"
        return "host" if size <= host else "file"

    def calls(
        self, order: Order, step: int, rows: int, take: Callable[[int, int], int]
    ) -> Generator[tuple[Images, Draw, int], None, None]:
        """Returns for one call after another its images, what its steps draw from them, and their number.

        Args:
            order: The training images of the steps from `step` on, to the end of the epoch.
            step: The first step.
            rows: Steps in a call; where one takes fewer, its draw is filled up to as many.
            take: Returns how many a call takes, by its first step and the end of the epoch.
        """
        self._wait = _Wait()
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
            found = [next(batches) for _ in range(count)]
            images = found[0] if count == 1 else np.concatenate(found)
            lacking = np.zeros((filled.size - len(images), *images.shape[1:]), images.dtype)
            labels = self._job.dataset.train_labels[filled.ravel()]
            here = np.arange(filled.size, dtype=np.int32).reshape(filled.shape)
            data = Images(
                np.concatenate([images, lacking]) if len(lacking) else images, labels, filled.ravel()
            )
            if self._views is not None:
                # Of held-out images nobody looks at what was said: in their rows is any that is there.
                wanted = np.concatenate([filled[:, :batch_size], filled[:, :1].repeat(size, 1)], 1).ravel()
                said = jax.tree.map(lambda column, at=wanted: column[at], self._said)
                data = data._replace(views=np.full(filled.size, self._view, np.int32), said=said)
            self._wait.ends()
            yield data, Draw(here[:, :batch_size], here[:, batch_size:]), count

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
            return (images[places] for places in steps)
        crops = None
        if job.resized_crop is not None:
            crops = Crops(job.seed, step, job.batch_size, job.resized_crop)
        return images.batches(steps, crops, self._wait.looks)


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


class _Wait:
    """How long the device has had nothing to do for want of images."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._results: list[Any] = []
        self._idle_since: float | None = None

    def looks(self) -> None:
        """Looks whether the device has done what it was given."""
        if self._idle_since is None and all(result.is_ready() for result in self._results):
            self._idle_since = time.perf_counter()

    def ends(self) -> None:
        """The next images are there."""
        if self._idle_since is not None:
            self.seconds += time.perf_counter() - self._idle_since

    def begins_after(self, results: PyTree) -> None:
        """The device has been given something to do, until there are these results."""
        self._results, self._idle_since = jax.tree.leaves(results), None


def steps_per_call(job: Job) -> int:
    """Returns how many steps one compiled call has, at most an epoch's."""
    steps = job.steps_per_call
    if steps is None:
        steps = 1 if job.task.devices.on_cpu else _ACCELERATOR_STEPS_PER_CALL
        if job.dataset.streamed:
            steps = max(1, min(steps, _CALL_BYTES // (_step_images(job) * _image_bytes(job))))
    return min(steps, job.task.epoch_steps)


def reading(job: Job) -> str:
    """Returns how images are streamed, and the memory that it takes at most; nothing where they are not."""
    images = job.dataset.train_images
    if not isinstance(images, Streamed):
        return ""
    step, tested = _step_images(job), min(job.eval_batch_size, len(job.dataset.test_images))
    # What waits to be asked for, what is collected for a call, and two calls, the one that runs and the next,
    # which JAX may hold copies of.
    training = images.ahead(step) + 5 * steps_per_call(job) * step
    testing = images.ahead(tested) + 3 * tested
    most = system.mebibytes(max(training, testing) * _image_bytes(job))
    return f"read by {system.cores()} threads, at most {most} of images at once beside what these decode"


def _held_out_size(job: Job) -> int:
    level = job.task.method.upper_level
    return job.batch_size if level is not None and level.memory is None else 0


def _step_images(job: Job) -> int:
    return job.batch_size + _held_out_size(job)


def _image_bytes(job: Job) -> int:
    return int(np.prod(job.dataset.train_images.shape[1:]))
