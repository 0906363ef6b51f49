"""The cells of a comparison: runs with folders of their own that share images and teachers."""

import dataclasses
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jkd import methods
from jkd import run as run_folder
from jkd.distillation.distil import Faculty, distil
from jkd.errors import UserError
from jkd.flags import resolve
from jkd.machine import files
from jkd.machine.process import GOES_ON, Interrupted, Stopped, called
from jkd.planning.experiment import Experiment
from jkd.planning.plan import Plan, plans
from jkd.planning.settings import digest
from jkd.report.results import Result
from jkd.run import InUse
from jkd.training.loop import Diverged

_WAIT = 5.0  # seconds between looks at what another process is working on
_DIVERGED = "diverged.json"


class Row(NamedTuple):
    """A row of the table: a method, under its own name or one that tells it from the same method's others."""

    name: str
    method: str

    @classmethod
    def of(cls, text: str) -> "Row":
        """Returns the row that METHOD or NAME=METHOD stands for.

        Raises:
            UserError: there is no such method, or the name cannot be a folder's or is another method's.
        """
        name, named, method = text.rpartition("=")
        methods.find(method)
        if named and not re.fullmatch(r"[A-Za-z0-9][\w+-]*", name):
            raise UserError(
                f"--methods={text}: a row's name is letters, digits, - and _, such as mine={method}"
            )
        if named and name != method and name in methods.METHODS:
            raise UserError(f"--methods={text}: {name} is another method; give the row another name")
        return cls(name or method, method)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What sets a cell apart: its row, the hyperparameters that are not at their defaults, and a seed."""

    row: Row
    hyperparameters: Mapping[str, Any]
    seed: int

    @classmethod
    def of(cls, row: str, given: Mapping[str, Any], seed: int) -> "Choice":
        """Returns the choice that hyperparameters come to, whether defaults are among them or not.

        Raises:
            UserError: a hyperparameter is unknown, of another type or out of range.
        """
        called = Row.of(row)
        function = methods.find(called.method)
        try:
            resolved = resolve(function, given)
        except UserError as error:
            raise UserError(f"{called.name}: {error}") from None
        defaults = resolve(function, {})
        return cls(called, {name: v for name, v in resolved.items() if v != defaults[name]}, seed)

    @property
    def name(self) -> str:
        """The cell's folder: another one for other hyperparameters."""
        variant = f"-{digest(files.plain(dict(self.hyperparameters)))}" if self.hyperparameters else ""
        return f"{self.row.name}{variant}-seed{self.seed}"

    def experiment(self, base: Experiment) -> Experiment:
        """Returns the experiment: `base` with this method and seed."""
        return dataclasses.replace(
            base,
            method=self.row.method,
            hyperparameters=self.hyperparameters,
            student=dataclasses.replace(base.student, seed=self.seed),
        )


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    choice: Choice
    plan: Plan

    def read(self) -> Result:
        """Returns what there is of the run: nothing yet, a part, or all."""
        folder = self.plan.folder
        diverged = folder / _DIVERGED
        contents = run_folder.read(folder) if (folder / "config.json").exists() else None
        return Result(
            method=self.choice.row.name,
            seed=self.choice.seed,
            records=contents.records if contents else [],
            summary=contents.summary if contents else None,
            diverged=files.read_json(diverged)["message"] if diverged.exists() else None,
            train_images=len(self.plan.job.train_indices),
        )


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


def run(cells: Sequence[Cell], done: Callable[[], object] = lambda: None) -> None:
    """Runs the cells that are not finished, `done` after each; waits for those another process is at.

    A cell whose loss stops being finite is marked as diverged, and the others go on.

    Raises:
        jkd.Interrupted: a signal or the time limit asked to stop; what was done is saved, and the message
            says what is left.
    """
    try:
        _run(cells, make_ready(cells), done)
    except Stopped as stopped:
        reason = f"stopped by {called(stopped.signal)} between runs; {GOES_ON}"
        raise Interrupted(stopped.signal, f"{reason}; {_left(cells)}") from None
    except Interrupted as stopped:
        raise Interrupted(stopped.signal, f"{stopped}; {_left(cells)}") from None


def _run(cells: Sequence[Cell], faculty: Faculty | None, done: Callable[[], object]) -> None:
    def task(number: int, cell: Cell) -> Callable[[], None]:
        def call() -> None:
            result = cell.read()
            if result.summary is not None:
                run_folder.check_finished(cell.plan.folder)
            if result.finished:
                return
            print(f"[{number}/{len(cells)}] {cell.choice.row.name}, seed {cell.choice.seed}", flush=True)
            try:
                distil(cell.plan, faculty if cell.plan.teachers else None)
            except Diverged as error:
                print(f"{cell.plan.folder} diverged: {error}", flush=True)
                files.write_json(cell.plan.folder / _DIVERGED, {"message": str(error)})
            done()

        return call

    _in_turn([task(number, cell) for number, cell in enumerate(cells, 1)])


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
