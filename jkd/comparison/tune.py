"""Choosing hyperparameters on images held out from training, with the same budget for every method."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jkd import data
from jkd.comparison.cells import Bench, Cell
from jkd.data import Dataset
from jkd.flags import settings
from jkd.methods import METHODS
from jkd.planning.plan import Experiment
from jkd.report.results import Result

# Ours: a tenth of every class to choose on, and a seed that no cell of the comparison is likely to have.
VALIDATION = 0.1
TUNING_SEED = 1000


class Trial(NamedTuple):
    """A choice of hyperparameters, and its top-1 accuracy on the validation slice (None: diverged)."""

    method: str
    hyperparameters: dict[str, Any]
    top1: float | None


def candidates(method: str, given: dict[str, Any], trials: int) -> list[dict[str, Any]]:
    """Returns up to `trials` choices of what the method declares with `Flag(tune=...)`.

    The defaults come first, then points of the grid in an order drawn once and for all. What is `given` is
    not tuned. A method with fewer choices than `trials` has them all tried.

    Args:
        method: Its name.
        given: Hyperparameters that were set, which are part of every choice.
        trials: The budget.
    """
    tuned = [s for s in settings(METHODS[method]) if s.flag.tune and s.name not in given]
    defaults = {s.name: s.default for s in tuned}
    grid = [
        dict(zip(defaults, values, strict=True))
        for values in itertools.product(*(s.flag.tune for s in tuned))
    ]
    others = [point for point in grid if point != defaults]
    order = np.random.default_rng(0).permutation(len(others))[: trials - 1]
    return [given, *(given | others[index] for index in order)]


def cells(workdir: Path, given: dict[str, dict[str, Any]], trials: int) -> list[Cell]:
    """Returns the runs that tuning takes: none for a method that has nothing to choose."""
    found = []
    for method, fixed in given.items():
        choices = candidates(method, fixed, trials)
        if len(choices) > 1:
            found += [Cell.within(workdir / "tuning", method, choice, TUNING_SEED) for choice in choices]
    return found


def validation_split(dataset: Dataset) -> Dataset:
    """Returns the training images, cut in two: those to train on, and a slice of every class to choose on."""
    kept, slice_ = data.stratified_split(dataset.train_labels, VALIDATION, TUNING_SEED)
    return dataclasses.replace(
        dataset,
        name=f"{dataset.name} (a tenth of the training images for validation)",
        train_images=dataset.train_images[kept],
        train_labels=dataset.train_labels[kept],
        test_images=dataset.train_images[slice_],
        test_labels=dataset.train_labels[slice_],
    )


def tune(bench: Bench, base: Experiment, every: Sequence[Cell]) -> list[Trial]:
    """Runs the cells on the validation split of the bench's training images, and returns their scores.

    The test images are not looked at. The teachers are those of the comparison; the slice is held out from
    the students of the tuning runs only.
    """
    there = bench.on(validation_split(bench.dataset), base)
    print(f"tuning: {len(every)} runs, scored on a slice of the training images", flush=True)
    there.run(every)
    return [_trial(cell, cell.read()) for cell in every]


def _trial(cell: Cell, result: Result) -> Trial:
    top1 = None if result.diverged else result.value("last.test/top1")
    return Trial(cell.method, cell.hyperparameters, top1)


def best(trials: Sequence[Trial], given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns each method's hyperparameters: the best choice (the earlier of equals), or what was given."""
    chosen = dict(given)
    for method in given:
        own = [trial for trial in trials if trial.method == method and trial.top1 is not None]
        if own:
            chosen[method] = max(own, key=lambda trial: trial.top1 or 0.0).hyperparameters
    return chosen
