"""Which examples come when: splits, epochs and batches, as indices drawn on the host.

Each function is a deterministic function of its arguments, so that a resumed run sees the same batches as an
uninterrupted one and no position in the data needs saving.
"""

import numpy as np
from jaxtyping import Bool, Int32

from jkd.errors import UserError

# Keeps the random streams of one seed apart.
_SPLIT, _EPOCH, _HELD_OUT = range(3)
_CROP, _VIEW = 4, 5  # jkd.data.lessons has 3


def _generator(seed: int, *stream: int) -> np.random.Generator:
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or greater")
    return np.random.default_rng((seed, *stream))


def stratified_split(
    labels: Int32[np.ndarray, " examples"], fraction: float, seed: int
) -> tuple[Int32[np.ndarray, " kept"], Int32[np.ndarray, " held_out"]]:
    """Holds out a fraction of every class.

    Each class gives its own rounded share, but at least one example, and keeps at least one. (scikit-learn's
    splitter fixes the total instead and may leave a rare class out of the smaller part.)

    Args:
        labels: Class of each example.
        fraction: Share to hold out, in [0, 1); 0 holds out nothing.
        seed: Seed of the draw.

    Returns:
        Indices of the kept and of the held-out examples, each ascending.

    Raises:
        UserError: `fraction` is outside [0, 1), or a class has a single example, which cannot lie on both
            sides.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"the held-out fraction is {fraction}; it must be at least 0 and less than 1")
    generator = _generator(seed, _SPLIT)
    is_held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels) if fraction else ():
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) < 2:
            raise UserError(
                f"class {label} has one training example, so {fraction:g} of it cannot be held out; "
                "give it two or more, or hold out 0"
            )
        count = np.clip(round(fraction * len(members)), 1, len(members) - 1)
        is_held_out[members[:count]] = True
    return np.flatnonzero(~is_held_out).astype(np.int32), np.flatnonzero(is_held_out).astype(np.int32)


def epoch_indices(
    seed: int, epoch: int, indices: Int32[np.ndarray, " examples"], batch_size: int
) -> Int32[np.ndarray, "steps batch"]:
    """Shuffles `indices` for one epoch and cuts them into batches; an incomplete last batch is dropped.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        indices: The training examples.
        batch_size: Examples in a batch.

    Returns:
        One row of indices per step.

    Raises:
        UserError: There are fewer examples than one batch needs.
    """
    steps = len(indices) // batch_size
    if steps == 0:
        raise UserError(
            f"the batch size is {batch_size} but there are {len(indices)} training examples; "
            "it can be that many at most"
        )
    shuffled = _generator(seed, _EPOCH, epoch).permutation(indices)
    return shuffled[: steps * batch_size].reshape(steps, batch_size).astype(np.int32)


def view_of_epoch(seed: int, epoch: int, views: int) -> int:
    """Returns which view an epoch shows: each once in as many epochs as there are, then in another order.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, from 0.
        views: How many there are.
    """
    turn, place = divmod(epoch, views)
    return int(_generator(seed, _VIEW, turn).permutation(views)[place])


def held_out_indices(
    seed: int, step: int, indices: Int32[np.ndarray, " examples"], batch_size: int
) -> Int32[np.ndarray, " batch"]:
    """Draws one batch of held-out examples for the upper level.

    Examples are drawn without replacement; where there are fewer than a batch needs, each comes equally often
    (give or take one).

    Args:
        seed: Seed of the run.
        step: Number of the training step, from 0.
        indices: The held-out examples.
        batch_size: Examples in a batch.

    Returns:
        Indices of the batch.

    Raises:
        UserError: There are no held-out examples.
    """
    if len(indices) == 0:
        raise UserError(
            "no training examples are held out for the upper level; the held-out fraction must be more than 0"
        )
    generator = _generator(seed, _HELD_OUT, step)
    rounds = -(-batch_size // len(indices))
    drawn = np.concatenate([generator.permutation(indices) for _ in range(rounds)])
    return drawn[:batch_size].astype(np.int32)


def crop_generator(seed: int, step: int, place: int) -> np.random.Generator:
    """Returns random numbers for the crop of one image: that at `place` in the batch of a step."""
    return _generator(seed, _CROP, step, place)


def batches(
    examples: int, batch_size: int
) -> tuple[Int32[np.ndarray, "steps batch"], Bool[np.ndarray, "steps batch"]]:
    """Cuts examples 0, 1, ... into batches of one size, so that one compiled function evaluates them all.

    Args:
        examples: Number of examples.
        batch_size: Examples in a batch.

    Returns:
        Indices, the last batch filled up with 0; and a mask that is False where it was filled up.
    """
    steps = -(-examples // batch_size)
    indices = np.arange(steps * batch_size, dtype=np.int32).reshape(steps, batch_size)
    mask = indices < examples
    return np.where(mask, indices, 0).astype(np.int32), mask
