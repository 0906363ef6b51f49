"""Where the images of a compiled call come from."""

import numpy as np

from jkd.data import held_out_indices
from jkd.training.calls import Draw
from jkd.training.job import Job
from jkd.training.step import Images

# A data set stays on the device if it takes at most this share of its memory.
_RESIDENT_SHARE = 0.25


class Source:
    """Gives each call its images: from device memory where the data set fits, else gathered on the host."""

    def __init__(self, job: Job):
        self._job = job
        self._held_out_size = 0
        level = job.task.method.upper_level
        if level is not None and level.memory is None:
            self._held_out_size = job.batch_size
        stats = job.task.devices.mesh.devices.flat[0].memory_stats() or {}
        limit = stats.get("bytes_limit", np.inf)
        every = np.arange(len(job.dataset.train_labels), dtype=np.int32)
        data = Images(job.dataset.train_images, job.dataset.train_labels, every)
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
        images = Images(job.dataset.train_images[every], job.dataset.train_labels[every], every)
        here = np.arange(len(every), dtype=np.int32)
        train, rest = here[: draw.train.size], here[draw.train.size :]
        return images, Draw(train.reshape(draw.train.shape), rest.reshape(draw.held_out.shape))
