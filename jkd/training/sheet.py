"""A sheet of training images as training shows them, to see by eye what the augmentation does."""

from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from jkd.data import epoch_indices
from jkd.data.streamed import Crops, Streamed
from jkd.steps.images import Augmentation
from jkd.training.job import Job

_ROWS, _COLUMNS = 4, 8


def sheet(job: Job) -> UInt8[np.ndarray, "height width channels"]:
    """Returns the first training images of a run, augmented, side by side.

    They are drawn by the run's seed, though not with the very crops of its first step.
    """
    chosen = epoch_indices(job.seed, 0, job.train_indices, job.batch_size).ravel()[: _ROWS * _COLUMNS]
    images = job.dataset.train_images
    if isinstance(images, Streamed) and job.resized_crop is not None:
        batch = next(iter(images.batches([chosen], Crops(job.seed, 0, len(chosen), job.resized_crop))))
    else:
        batch = images[chosen]
    blank = np.zeros((_ROWS * _COLUMNS - len(batch), *batch.shape[1:]), batch.dtype)
    seen = np.asarray(
        _augmented(job.task.augmentation, jax.random.key(job.seed), np.concatenate([batch, blank]))
    )
    augmentation = job.task.augmentation
    pixels = 255 * (seen * np.asarray(augmentation.std) + np.asarray(augmentation.mean))
    grid = np.round(pixels).clip(0, 255).astype(np.uint8).reshape(_ROWS, _COLUMNS, *seen.shape[1:])
    return grid.swapaxes(1, 2).reshape(_ROWS * seen.shape[1], _COLUMNS * seen.shape[2], seen.shape[3])


@partial(jax.jit, static_argnums=0)
def _augmented(
    augmentation: Augmentation, key: PRNGKeyArray, images: UInt8[Array, "b h w c"]
) -> Float[Array, "b h w c"]:
    return augmentation.train(key, images)
