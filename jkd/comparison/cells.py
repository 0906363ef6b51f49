"""The cells of a comparison: runs with folders of their own that share images and teachers."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jkd import data, files, methods
from jkd import run as run_folder
from jkd.data import Dataset
from jkd.distillation.distil import Faculty, cache_programs, distil_on, validate
from jkd.errors import UserError
from jkd.flags import settings
from jkd.methods import METHODS
from jkd.planning.plan import Experiment, identity_of
from jkd.planning.settings import digest
from jkd.report.results import Result
from jkd.run import InUse
from jkd.teachers import stored as teaching
from jkd.training.loop import Diverged

_WAIT = 5.0  # seconds between looks at what another process is working on
_DIVERGED = "diverged.json"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run: a method with the hyperparameters that are not left at their defaults, and a seed."""

    method: str
    hyperparameters: dict[str, Any]
    seed: int
    workdir: Path

    @classmethod
    def within(cls, folder: Path, method: str, hyperparameters: dict[str, Any], seed: int) -> "Cell":
        """Returns the cell with its folder in `folder`: another one for other hyperparameters."""
        variant = f"-{digest(files.plain(hyperparameters))}" if hyperparameters else ""
        return cls(method, hyperparameters, seed, folder / f"{method}{variant}-seed{seed}")

    def experiment(self, base: Experiment) -> Experiment:
        """Returns the experiment: `base` with this method, seed and folder."""
        defaults = {s.name: s.default for s in settings(METHODS[self.method])}
        return dataclasses.replace(
            base,
            method=self.method,
            hyperparameters=defaults | self.hyperparameters,
            student=dataclasses.replace(base.student, seed=self.seed),
            execution=dataclasses.replace(base.execution, workdir=str(self.workdir)),
        )

    def read(self) -> Result:
        """Returns what there is of the run: nothing yet, a part, or all."""
        diverged = self.workdir / _DIVERGED
        there = (self.workdir / "config.json").exists()
        contents = run_folder.read(self.workdir) if there else run_folder.Contents({}, [], None)
        return Result(
            method=self.method,
            seed=self.seed,
            records=contents.records,
            summary=contents.summary,
            diverged=files.read_json(diverged)["message"] if diverged.exists() else None,
        )


def check(base: Experiment, cells: Sequence[Cell]) -> None:
    """Checks the settings of all cells before anything is read or trained.

    Raises:
        UserError: a setting is unknown, out of range, or does not fit another or the machine.
    """
    experiments = [cell.experiment(base) for cell in cells]
    for experiment in experiments:
        try:
            methods.create(experiment.method, **experiment.hyperparameters)
        except UserError as error:
            raise UserError(f"{experiment.method}: {error}") from None
    # What is left is the same for all, but for the teachers, which some methods do without.
    validate(max(experiments, key=_taught))


def _taught(experiment: Experiment) -> bool:
    return methods.create(experiment.method, **experiment.hyperparameters).needs_teachers


def _check_folders(base: Experiment, cells: Sequence[Cell], dataset: Dataset) -> None:
    for cell in cells:
        if not (cell.workdir / "config.json").exists():
            continue
        experiment = cell.experiment(base)
        entries = (
            teaching.entries(base.teachers.teachers, base.teachers.teacher_seed)
            if _taught(experiment)
            else []
        )
        here = files.plain(identity_of(experiment, dataset, entries, {}))
        there = run_folder.read(cell.workdir).config
        # The weights of teachers are not known before these are trained.
        run_folder.check_same(cell.workdir, _but_weights(there), _but_weights(here))


def _but_weights(identity: dict[str, Any]) -> dict[str, Any]:
    teachers = [{k: v for k, v in t.items() if k != "weights"} for t in identity.get("teachers", [])]
    return identity | {"teachers": teachers}


class Bench:
    """Where cells are run: the images and the teachers that they share."""

    def __init__(self, base: Experiment, dataset: Dataset, faculty: Faculty):
        self._base, self.dataset, self._faculty = base, dataset, faculty

    @classmethod
    def ready(cls, base: Experiment, cells: Sequence[Cell]) -> "Bench":
        """Loads the images, and trains the teachers that are missing or waits for who is training them.

        Raises:
            UserError: A cell's folder belongs to another configuration; found before anything is trained.
        """
        cache_programs(base.execution)
        spec = base.data
        dataset = data.load(spec.dataset, spec.data_dir, spec.image_size, base.execution.cache_dir)
        _check_folders(base, cells, dataset)
        if not any(_taught(cell.experiment(base)) for cell in cells):
            return cls(base, dataset, Faculty(base, dataset, {}))
        found: list[Faculty] = []
        _in_turn([lambda: found.append(Faculty.of(base, dataset))])
        return cls(base, dataset, found[0])

    def on(self, dataset: Dataset, base: Experiment) -> "Bench":
        """Returns a bench with other images and other settings for the same teachers."""
        return Bench(base, dataset, Faculty(base, dataset, self._faculty.teachers))

    def run(self, cells: Sequence[Cell], done: Callable[[], object] = lambda: None) -> None:
        """Runs the cells that are not finished, `done` after each; waits for those another process is at.

        A cell whose loss stops being finite is marked as diverged, and the others go on.

        Raises:
            jkd.training.loop.Interrupted: a signal asked to stop; what was done is saved.
        """

        def task(number: int, cell: Cell) -> Callable[[], None]:
            def call() -> None:
                if cell.read().finished:
                    return
                print(f"[{number}/{len(cells)}] {cell.method}, seed {cell.seed}", flush=True)
                try:
                    distil_on(self.dataset, cell.experiment(self._base), self._faculty)
                except Diverged as error:
                    print(f"{cell.workdir} diverged: {error}", flush=True)
                    files.write_json(cell.workdir / _DIVERGED, {"message": str(error)})
                done()

            return call

        _in_turn([task(number, cell) for number, cell in enumerate(cells, 1)])


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
