"""A comparison: every method with every seed and the same teachers, then the tables and pictures."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from jkd.comparison import cells as running
from jkd.comparison import outcome
from jkd.comparison import tune as tuning
from jkd.comparison.cells import Cell
from jkd.comparison.choice import Choice, Row
from jkd.comparison.outcome import Table
from jkd.errors import UserError, nearest
from jkd.flags import MAX_SEED, Flag, resolve
from jkd.machine import files
from jkd.planning.experiment import Experiment
from jkd.planning.identity import digest
from jkd.planning.settings import time_limit
from jkd.report import comparison as pictures
from jkd.report.table import Published

_EXAMPLES = {"methods": "scratch,aver,bomd", "seeds": "0,1,2", "tune_seeds": "1000,1001"}


@dataclasses.dataclass(frozen=True)
class Compare:
    """Comparison: what is compared."""

    methods: Annotated[
        tuple[str, ...],
        Flag("the methods, one in a second row as NAME=METHOD; --NAME.FLAG=value sets a flag of one"),
    ] = (
        "scratch",
        "aver",
        "camkd",
        "demkd",
        "gpac",
        "mkcd",
        "mmkd",
        "bomd",
    )
    seeds: Annotated[tuple[int, ...], Flag("seeds of the students (teachers: --teacher-seed)")] = (0, 1, 2)
    baseline: Annotated[
        str | None, Flag("the row that differences are to", default="aver if compared, else the first")
    ] = None
    workdir: Annotated[
        str | None, Flag("the comparison's folder", default="runs/compare-DATASET-STUDENT-HASH")
    ] = None
    shard: Annotated[
        str | None,
        Flag(
            "I/N, with I from 1 to N: every N-th run from the I-th on, no tables; auto/N, or auto in arrays "
            "of SLURM's: I as the cluster numbers this job",
            default="all runs",
        ),
    ] = None
    seeds_together: Annotated[
        bool | None,
        Flag(
            "train a method's seeds by the same calls: one on each device, or all on one under vmap",
            default="yes where there are several accelerators",
        ),
    ] = None
    tune: Annotated[
        bool, Flag("choose hyperparameters first, on a tenth of the training images, never on test")
    ] = False
    tune_trials: Annotated[int, Flag("choices tried for each method, the same for all", at_least=1)] = 4
    tune_seeds: Annotated[
        tuple[int, ...], Flag("seeds of the runs that try a choice, whose accuracies are averaged")
    ] = (1000, 1001)  # ours: none that a cell of the comparison is likely to have
    tune_epochs: Annotated[
        int | None, Flag("epochs of a run that tries a choice", at_least=1, default="as --epochs")
    ] = None


def compare(
    settings: Compare,
    base: Experiment,
    hyperparameters: Mapping[str, Mapping[str, Any]],
    published: Mapping[str, Published] | None = None,
) -> Table | None:
    """Trains the teachers that are missing and every cell that is not finished; writes tables and pictures.

    Args:
        settings: What is compared.
        base: The experiment that every cell shares; its method, hyperparameters, student's seed and folder
            are the cells' own.
        hyperparameters: By row, what is not left at its default.
        published: By row, a paper's number to stand beside the measured one.

    Returns:
        The table; its folder has the page, `table.md`, `table.csv`, `runs.csv`, pictures, a folder for each
        cell.
        None for a shard, which makes no table.

    Raises:
        UserError: a mistake in the settings, found before anything is trained.
        jkd.Interrupted: a signal or the time limit asked to stop; what was done is saved, and the same call
            goes on from there.
    """
    with time_limit(base.execution):
        settings = Compare(**resolve(Compare, vars(settings)))
        _check(settings, base)
        return _compare(settings, base, hyperparameters, published or {})


def _compare(
    settings: Compare,
    base: Experiment,
    hyperparameters: Mapping[str, Mapping[str, Any]],
    published: Mapping[str, Published],
) -> Table | None:
    given = {row: hyperparameters.get(Row.of(row).name, {}) for row in settings.methods}
    decided = running.decide(base, _choices(settings, given))
    folder = _folder(settings, decided)
    cells = running.within(folder, decided)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={folder}: it cannot be made ({error.strerror}); give another") from None

    more: dict[str, str] = {}
    if settings.tune and (tries := tuning.choices(given, settings.tune_trials, settings.tune_seeds)):
        trials, more["Tuned"] = tuning.tune(
            folder, base, tries, settings.tune_epochs, settings.seeds_together
        )
        given = tuning.best(trials, given)
        chosen = {Row.of(row).name: values for row, values in given.items()}
        scores = [
            trial._asdict() | {"chosen": trial.hyperparameters == chosen[trial.row]} for trial in trials
        ]
        files.write_json(folder / "tuning.json", {"trials": scores})
        cells = running.within(folder, running.decide(base, _choices(settings, given)))
    if settings.shard:
        first, step = _shard(settings.shard)
        running.run(cells[first - 1 :: step], together=settings.seeds_together)
        print(
            f"shard {settings.shard} is finished; when all are, the same command without it makes the tables"
        )
        return None
    write = functools.partial(outcome.write, folder, cells, _baseline(settings), published, more)
    write()  # a page to look at from the beginning
    running.run(cells, write, settings.seeds_together)
    made = write()
    print(made, flush=True)
    form = base.execution.figures
    names = pictures.draw_all([cell.read() for cell in cells], _baseline(settings), folder, form)
    print(f"{folder} has report.html, table.md, table.csv, runs.csv, {', '.join(names)}", flush=True)
    return made


def _check(settings: Compare, base: Experiment) -> None:
    if base.execution.distributed:
        raise UserError(
            "--distributed is of a single run; a comparison divides its runs among hosts by --shard=I/N"
        )
    for name, example in _EXAMPLES.items():
        flag, values = name.replace("_", "-"), getattr(settings, name)
        if not values:
            raise UserError(f"--{flag}= is empty; give one or more, such as --{flag}={example}")
        for value in values:
            if values.count(value) > 1:
                raise UserError(f"--{flag}: {value} is there twice; give each once")
    names = [Row.of(row).name for row in settings.methods]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--methods: two rows are called {name}; give each a name of its own")
    for flag, seeds in (("seeds", settings.seeds), ("tune-seeds", settings.tune_seeds)):
        for seed in seeds:
            if not 0 <= seed <= MAX_SEED:
                what = "negative" if seed < 0 else "too great"
                raise UserError(f"--{flag}: {seed} is {what}; seeds are 0 to {MAX_SEED}")
    if settings.baseline is not None and settings.baseline not in names:
        raise UserError(
            f"--baseline={settings.baseline} is not among --methods={','.join(settings.methods)}"
            f"{nearest(settings.baseline, names)}"
        )
    _shard(settings.shard)


def _baseline(settings: Compare) -> str:
    names = [Row.of(row).name for row in settings.methods]
    return settings.baseline or ("aver" if "aver" in names else names[0])


def _folder(settings: Compare, cells: Sequence[Cell]) -> Path:
    """Returns the comparison's folder: one for all methods, seeds and hyperparameters."""
    if settings.workdir:
        return Path(settings.workdir)
    identities = [cell.plan.identity for cell in cells]
    taught = next((identity for identity in identities if identity["teachers"]), identities[0])
    # Each method holds out what it needs, if that is not the same for all.
    dataset = {name: value for name, value in taught["dataset"].items() if "held_out" not in name}
    for name in ("held_out", "held_out_from"):
        dataset[name] = getattr(cells[0].plan.experiment.data, name)
    shared = {name: taught[name] for name in ("student", "teachers", "recipe")} | {"dataset": dataset}
    name = Path(cells[0].plan.job.dataset.name.rpartition(":")[2]).stem
    return Path("runs") / f"compare-{name}-{taught['student']}-{digest(shared)}"


def _choices(settings: Compare, given: Mapping[str, Mapping[str, Any]]) -> list[Choice]:
    """Returns all cells, every row of a seed before the next seed: tables of a part are balanced."""
    return [Choice.of(row, given[row], seed) for seed in settings.seeds for row in settings.methods]


def _shard(text: str | None) -> tuple[int, int]:
    """Returns which of how many shards this is, the first being 1."""
    first, slash, count = (text or "1/1").partition("/")
    if first == "auto":
        first, found = _number_in_array()
        count = count if slash else found
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        told = f" ({first or 'no number'} of {count or 'how many is unknown'})" if "auto" in str(text) else ""
        raise UserError(
            f"--shard={text}{told}: it must be I/N with I from 1 to N, such as 1/4, or auto/N in an array of "
            "SLURM's or an indexed Job of Kubernetes'"
        )
    return int(first), int(count)


def _number_in_array() -> tuple[str, str]:
    """Returns the number that a cluster has given this job, counted from 1, and of how many; or nothing."""
    place = os.environ.get("JOB_COMPLETION_INDEX", "")  # Kubernetes', counted from 0
    least = os.environ.get("SLURM_ARRAY_TASK_MIN", "")
    if number := os.environ.get("SLURM_ARRAY_TASK_ID", ""):
        place = str(int(number) - int(least)) if number.isdecimal() and least.isdecimal() else ""
    return str(int(place) + 1) if place.isdecimal() else "", os.environ.get("SLURM_ARRAY_TASK_COUNT", "")
