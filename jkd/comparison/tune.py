"""Choosing hyperparameters on images held out from training, with the same budget for every method."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jkd import methods
from jkd.comparison import cells as running
from jkd.comparison.cells import Cell, Choice, Row
from jkd.flags import settings
from jkd.planning.experiment import Experiment
from jkd.planning.settings import epochs as passes
from jkd.report.results import Result

# Ours: a tenth of every class to choose on, and a seed that no cell of the comparison is likely to have.
VALIDATION = 0.1
TUNING_SEED = 1000


class Trial(NamedTuple):
    """A row's choice of hyperparameters, and its top-1 accuracy on validation images (None: diverged)."""

    row: str
    hyperparameters: dict[str, Any]
    top1: float | None


def candidates(row: str, given: Mapping[str, Any], trials: int) -> list[dict[str, Any]]:
    """Returns up to `trials` choices of what the method declares with `Flag(tune=...)`.

    The defaults come first, then points of the grid in an order drawn once and for all. What is `given` is
    not tuned. A method with fewer choices than `trials` has them all tried.

    Args:
        row: METHOD or NAME=METHOD.
        given: Hyperparameters that were set, which are part of every choice.
        trials: The budget.
    """
    tuned = [s for s in settings(methods.find(Row.of(row).method)) if s.flag.tune and s.name not in given]
    defaults = {s.name: s.default for s in tuned}
    grid = [
        dict(zip(defaults, values, strict=True))
        for values in itertools.product(*(s.flag.tune for s in tuned))
    ]
    others = [point for point in grid if point != defaults]
    order = np.random.default_rng(0).permutation(len(others))[: trials - 1]
    return [dict(given), *(dict(given) | others[index] for index in order)]


def choices(given: Mapping[str, Mapping[str, Any]], trials: int) -> list[Choice]:
    """Returns what tuning tries: nothing for a method that has nothing to choose."""
    found = []
    for row, fixed in given.items():
        tried = candidates(row, fixed, trials)
        if len(tried) > 1:
            found += [Choice.of(row, choice, TUNING_SEED) for choice in tried]
    return found


def tune(folder: Path, base: Experiment, every: Sequence[Choice], epochs: int | None) -> list[Trial]:
    """Tries the choices on validation images, held out from the training images, and returns their scores.

    The test images have no part in it. Validation images are held out from the students of these runs and
    from their teachers: unless the comparison itself holds such images out, teachers are trained for these
    runs alone. Teachers that are read or given may have seen them; then the runs say so.

    Args:
        folder: The comparison's.
        base: The experiment that every cell of the comparison shares.
        every: What is tried.
        epochs: Epochs of a run that tries a choice; None as in the comparison.
    """
    data, recipe, teachers = base.data, base.recipe, base.teachers
    # Not those of fewer epochs.
    teachers = dataclasses.replace(teachers, teacher_epochs=teachers.teacher_epochs or passes(recipe, data))
    there = dataclasses.replace(
        base,
        data=dataclasses.replace(data, validation=data.validation or VALIDATION),
        recipe=dataclasses.replace(recipe, epochs=epochs or recipe.epochs),
        teachers=teachers,
    )
    print(f"tuning: {len(every)} runs, scored on images held out from training", flush=True)
    cells = running.within(folder / "tuning", running.decide(there, every))
    running.run(cells)
    return [_trial(cell, cell.read()) for cell in cells]


def described(trials: int) -> str:
    """Returns what a table says of its hyperparameters."""
    return (
        f"at most {trials} choices for each method, scored on images held out from training (tuning.json); "
        "test images had no part in the choice"
    )


def _trial(cell: Cell, result: Result) -> Trial:
    top1 = None if result.diverged else result.value("last.validation/top1")
    return Trial(cell.choice.row.name, dict(cell.choice.hyperparameters), top1)


def best(trials: Sequence[Trial], given: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Returns each row's hyperparameters: the best choice (the earlier of equals), or what was given."""
    chosen = dict(given)
    for row in given:
        own = [trial for trial in trials if trial.row == Row.of(row).name and trial.top1 is not None]
        if own:
            chosen[row] = max(own, key=lambda trial: trial.top1 or 0.0).hyperparameters
    return chosen
