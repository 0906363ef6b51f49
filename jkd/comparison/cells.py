"""The cells of a comparison: runs with folders of their own that share images and teachers."""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jkd import run as run_folder
from jkd.comparison.choice import Choice
from jkd.comparison.reopened import DIVERGED, result_of
from jkd.distillation.distil import Faculty, distil_together
from jkd.machine import files
from jkd.machine.process import GOES_ON, Interrupted, Stopped, called
from jkd.planning.experiment import Experiment
from jkd.planning.identity import digest
from jkd.planning.plan import Plan, plans
from jkd.report.results import Result
from jkd.run import InUse
from jkd.training.source import can_share
from jkd.training.together import Diverged

_WAIT = 5.0  # seconds between looks at what another process is working on


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    choice: Choice
    plan: Plan

    def read(self) -> Result:
        """Returns what there is of the run: nothing yet, a part, or all."""
        images = len(self.plan.job.train_indices)
        return result_of(self.plan.folder, self.choice.row.name, self.choice.seed, images)


def decide(base: Experiment, choices: Sequence[Choice]) -> list[Cell]:
    """Returns the cells, planned together, in folders of no comparison yet.

    Raises:
        UserError: a mistake in the settings of any cell.
    """
    planned = plans([choice.experiment(base) for choice in choices])
    return [Cell(choice, plan) for choice, plan in zip(choices, planned, strict=True)]


def within(folder: Path, cells: Sequence[Cell]) -> list[Cell]:
    """Returns the cells with their folders in that of a comparison.

    Raises:
        UserError: one of these folders belongs to another configuration.
    """
    placed = [Cell(cell.choice, cell.plan.at(folder / cell.choice.name)) for cell in cells]
    for cell in placed:
        there = cell.plan.folder
        if (there / "config.json").exists():
            run_folder.check_same(there, run_folder.read(there).config, cell.plan.identity)
    return placed


def make_ready(cells: Sequence[Cell]) -> Faculty | None:
    """Returns the teachers that the cells share, trained first where missing, or None where there are none.

    Waits for another process that is training them.
    """
    taught = [cell.plan for cell in cells if cell.plan.teachers]
    found: list[Faculty] = []
    if taught:
        _in_turn([lambda: found.append(Faculty.of(taught[0]))])
    return found[0] if found else None


def run(
    cells: Sequence[Cell], done: Callable[[], object] = lambda: None, together: bool | None = None
) -> None:
    """Runs the cells that are not finished, `done` after each; waits for those another process is at.

    A cell whose loss stops being finite is marked as diverged, and the others go on.

    Args:
        cells: What is run.
        done: Called after a cell, or several that went together.
        together: Whether cells that differ in their seeds share their compiled calls, where they can; None:
            where there are several accelerators.

    Raises:
        jkd.Interrupted: a signal or the time limit asked to stop; what was done is saved, and the message
            says what is left.
    """
    try:
        _run(_groups(cells, together), make_ready(cells), done)
    except Stopped as stopped:
        reason = f"stopped by {called(stopped.signal)} between runs; {GOES_ON}"
        raise Interrupted(stopped.signal, f"{reason}; {_left(cells)}") from None
    except Interrupted as stopped:
        raise Interrupted(stopped.signal, f"{stopped}; {_left(cells)}") from None


def _groups(cells: Sequence[Cell], together: bool | None) -> list[list[Cell]]:
    """Returns the cells in the groups that they are run in, of one each where none go together."""
    devices = cells[0].plan.job.task.devices if cells else None
    if together is None:
        together = devices is not None and devices.count > 1 and not devices.on_cpu
    found: dict[Any, list[Cell]] = {}
    for number, cell in enumerate(cells):
        choice = cell.choice
        same = (choice.row, digest(files.plain(dict(choice.hyperparameters))))
        found.setdefault(same if together and can_share(cell.plan.job) else number, []).append(cell)
    return list(found.values())


def _run(groups: Sequence[Sequence[Cell]], faculty: Faculty | None, done: Callable[[], object]) -> None:
    count = sum(map(len, groups))
    numbers = {id(cell): number for number, cell in enumerate((c for group in groups for c in group), 1)}

    def task(group: Sequence[Cell]) -> Callable[[], None]:
        def call() -> None:
            left = [cell for cell in group if not _is_finished(cell)]
            for cell in left:
                print(
                    f"[{numbers[id(cell)]}/{count}] {cell.choice.row.name}, seed {cell.choice.seed}",
                    flush=True,
                )
            if not left:
                return
            results = distil_together([c.plan for c in left], faculty if left[0].plan.teachers else None)
            for cell, result in zip(left, results, strict=True):
                if isinstance(result, Diverged):
                    print(f"{cell.plan.folder} diverged: {result}", flush=True)
                    files.write_json(cell.plan.folder / DIVERGED, {"message": str(result)})
            done()
            for result in results:
                if isinstance(result, InUse):
                    raise result

        return call

    _in_turn([task(group) for group in groups])


def _is_finished(cell: Cell) -> bool:
    result = cell.read()
    if result.summary is not None:
        run_folder.check_finished(cell.plan.folder)
    return result.finished


def _left(cells: Sequence[Cell]) -> str:
    """Returns what is not finished: how many runs of each method, and how far those are that were begun."""
    left = [(cell, result) for cell in cells if not (result := cell.read()).finished]
    count = Counter(cell.choice.row.name for cell, _ in left)
    begun = [
        f"{cell.plan.folder.name} has {len(result.records)} of {cell.plan.job.epochs} epochs"
        for cell, result in left
        if result.records
    ]
    runs = ", ".join(f"{number} of {row}" for row, number in count.items())
    return "; ".join([f"left: {len(left)} of {len(cells)} runs" + (f" ({runs})" if runs else ""), *begun])


def _in_turn(tasks: Sequence[Callable[[], None]]) -> None:
    """Calls every task; one that another process is at is tried again until that process has ended it."""
    told = ""
    while tasks:
        left, reason = [], ""
        for task in tasks:
            try:
                task()
            except InUse as error:
                left.append(task)
                reason = str(error)
        if len(left) == len(tasks):
            if reason != told:
                print(f"waiting: {reason.partition(':')[0]}", flush=True)
                told = reason
            time.sleep(_WAIT)
        tasks = left
