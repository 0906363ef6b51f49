"""Choosing hyperparameters on images held out from training, with the same budget for every method."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jkd import methods
from jkd.comparison import cells as running
from jkd.comparison.choice import Choice, Row
from jkd.flags import settings
from jkd.planning.experiment import Experiment
from jkd.planning.recipe import epochs as passes
from jkd.report.results import Result

VALIDATION = 0.1  # ours: a tenth of every class to choose on


class Trial(NamedTuple):
    """A row's choice of hyperparameters, and the mean over seeds of its top-1 accuracy on validation images.

    The mean is None where a seed diverged.
    """

    row: str
    hyperparameters: dict[str, Any]
    top1: float | None
    by_seed: dict[int, float | None]


class Tuning(NamedTuple):
    """What was tried, and what a table says of it."""

    trials: list[Trial]
    text: str


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


def choices(given: Mapping[str, Mapping[str, Any]], trials: int, seeds: Sequence[int]) -> list[Choice]:
    """Returns what tuning tries, a seed at a time: nothing for a method that has nothing to choose."""
    tried = {row: candidates(row, fixed, trials) for row, fixed in given.items()}
    return [
        Choice.of(row, choice, seed)
        for seed in seeds
        for row, found in tried.items()
        for choice in found
        if len(found) > 1
    ]


def tune(
    folder: Path, base: Experiment, every: Sequence[Choice], epochs: int | None, together: bool | None = None
) -> Tuning:
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
    running.run(cells, together=together)
    trials = averaged([(cell.choice, cell.read()) for cell in cells])
    most = max(Counter(trial.row for trial in trials).values())
    seeds = ", ".join(str(seed) for seed in trials[0].by_seed)
    text = (
        f"at most {most} choices for each method, scored on images held out from training (tuning.json), the "
        f"mean of seeds {seeds}; test images had no part in the choice"
    )
    notes = dict.fromkeys(
        note for cell in cells for note in cell.plan.notes[len(cell.plan.job.dataset.notes) :]
    )
    return Tuning(trials, "; ".join([text, *notes]))


def averaged(results: Sequence[tuple[Choice, Result]]) -> list[Trial]:
    """Puts the seeds of each choice together."""
    top1: dict[str, dict[int, float | None]] = {}
    first: dict[str, Choice] = {}
    for choice, result in results:
        name = dataclasses.replace(choice, seed=0).name
        first.setdefault(name, choice)
        found = None if result.diverged else result.value("last.validation/top1")
        top1.setdefault(name, {})[choice.seed] = found
    trials = []
    for name, choice in first.items():
        scores = list(top1[name].values())
        mean = None if None in scores else float(np.mean([score for score in scores if score is not None]))
        trials.append(Trial(choice.row.name, dict(choice.hyperparameters), mean, top1[name]))
    return trials


def best(trials: Sequence[Trial], given: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Returns each row's hyperparameters: the best choice (the earlier of equals), or what was given."""
    chosen = dict(given)
    for row in given:
        own = [trial for trial in trials if trial.row == Row.of(row).name and trial.top1 is not None]
        if own:
            chosen[row] = max(own, key=lambda trial: trial.top1 or 0.0).hyperparameters
    return chosen
