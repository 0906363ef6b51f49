"""A comparison: every method with every seed and the same teachers, then the tables and pictures."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from jkd import files, methods, provenance
from jkd import run as run_folder
from jkd.comparison import cells as running
from jkd.comparison import tune as tuning
from jkd.comparison.cells import Bench, Cell
from jkd.data import Dataset
from jkd.errors import UserError, nearest
from jkd.flags import Flag
from jkd.planning.plan import Experiment
from jkd.planning.settings import digest
from jkd.report import comparison as pictures
from jkd.report import table
from jkd.report.results import rows
from jkd.report.table import Published

_EXAMPLES = {"methods": "scratch,aver,bomd", "seeds": "0,1,2"}


@dataclasses.dataclass(frozen=True)
class Compare:
    """Comparison: what is compared."""

    methods: Annotated[tuple[str, ...], Flag("the methods; --METHOD.FLAG=value sets a flag of one")] = (
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
        str | None, Flag("the method that differences are to", default="aver if compared, else the first")
    ] = None
    workdir: Annotated[
        str | None, Flag("the comparison's folder", default="runs/compare-DATASET-STUDENT-HASH")
    ] = None
    shard: Annotated[
        str | None,
        Flag("I/N, with I from 1 to N: every N-th run from the I-th on, no tables", default="all runs"),
    ] = None
    tune: Annotated[
        bool, Flag("choose hyperparameters first, on a tenth of the training images, never on test")
    ] = False
    tune_trials: Annotated[int, Flag("choices tried for each method, the same for all", at_least=1)] = 4
    tune_epochs: Annotated[
        int | None, Flag("epochs of a run that tries a choice", at_least=1, default="as --epochs")
    ] = None


def compare(
    settings: Compare,
    base: Experiment,
    hyperparameters: Mapping[str, dict[str, Any]],
    published: Mapping[str, Published] | None = None,
) -> Path:
    """Trains the teachers that are missing and every cell that is not finished; writes tables and pictures.

    Args:
        settings: What is compared.
        base: The experiment that every cell shares; its method, hyperparameters, student's seed and folder
            are the cells' own.
        hyperparameters: By method, what is not left at its default.
        published: By method, a paper's number to stand beside the measured one.

    Returns:
        The comparison's folder: `table.md`, `table.csv`, `runs.csv`, the pictures, a folder for each cell.

    Raises:
        UserError: a mistake in the settings, found before anything is trained.
        jkd.training.loop.Interrupted: a signal asked to stop; what was done is saved, and the same call goes
            on from there.
    """
    _check(settings)
    given = {method: hyperparameters.get(method, {}) for method in settings.methods}
    folder = _folder(settings, base)
    tries = tuning.cells(folder, given, settings.tune_trials) if settings.tune else []
    running.check(base, [*_cells(settings, folder, given), *tries])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={folder}: it cannot be made ({error.strerror}); give another") from None

    bench = Bench.ready(base, _cells(settings, folder, given))
    trials: list[tuning.Trial] = []
    if tries:
        epochs = settings.tune_epochs or base.recipe.epochs
        shorter = dataclasses.replace(base, recipe=dataclasses.replace(base.recipe, epochs=epochs))
        trials = tuning.tune(bench, shorter, tries)
        given = tuning.best(trials, given)
        scores = [
            trial._asdict() | {"chosen": trial.hyperparameters == given[trial.method]} for trial in trials
        ]
        files.write_json(folder / "tuning.json", {"trials": scores})
    cells = _cells(settings, folder, given)
    if settings.shard:
        first, step = _shard(settings.shard)
        bench.run(cells[first - 1 :: step])
        print(
            f"shard {settings.shard} is finished; when all are, the same command without it makes the tables"
        )
        return folder
    facts = functools.partial(_facts, base, bench.dataset, settings, cells, trials)
    write = functools.partial(_write, folder, cells, _baseline(settings), published or {})
    bench.run(cells, done=lambda: write(facts()))
    print(write(facts()), flush=True)
    names = pictures.draw_all([cell.read() for cell in cells], _baseline(settings), folder)
    print(f"{folder} has table.md, table.csv, runs.csv, {', '.join(names)}", flush=True)
    return folder


def _check(settings: Compare) -> None:
    for flag, values in (("methods", settings.methods), ("seeds", settings.seeds)):
        if not values:
            raise UserError(f"--{flag}= is empty; give one or more, such as --{flag}={_EXAMPLES[flag]}")
        for value in values:
            if values.count(value) > 1:
                raise UserError(f"--{flag}: {value} is there twice; give each once")
    for method in settings.methods:
        methods.create(method)
    if min(settings.seeds) < 0:
        raise UserError(f"--seeds: {min(settings.seeds)} is negative; seeds are 0 or greater")
    if settings.baseline is not None and settings.baseline not in settings.methods:
        raise UserError(
            f"--baseline={settings.baseline} is not among --methods={','.join(settings.methods)}"
            f"{nearest(settings.baseline, settings.methods)}"
        )
    _shard(settings.shard)


def _baseline(settings: Compare) -> str:
    return settings.baseline or ("aver" if "aver" in settings.methods else settings.methods[0])


def _folder(settings: Compare, base: Experiment) -> Path:
    """Returns the comparison's folder: one for all methods, seeds and hyperparameters."""
    if settings.workdir:
        return Path(settings.workdir)
    shared = {type(p).__name__: dataclasses.asdict(p) for p in (base.data, base.recipe, base.teachers)}
    student = base.student.student
    name = Path(base.data.dataset.rpartition(":")[2]).stem
    return Path("runs") / f"compare-{name}-{student}-{digest(shared | {'student': student})}"


def _cells(settings: Compare, folder: Path, given: Mapping[str, dict[str, Any]]) -> list[Cell]:
    """Returns all cells, every method of a seed before the next seed: tables of a part are balanced."""
    return [
        Cell.within(folder, method, given[method], seed)
        for seed in settings.seeds
        for method in settings.methods
    ]


def _shard(text: str | None) -> tuple[int, int]:
    first, slash, count = (text or "1/1").partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise UserError(f"--shard={text}: it must be I/N with I from 1 to N, such as 1/4")
    return int(first), int(count)


def _facts(
    base: Experiment,
    dataset: Dataset,
    settings: Compare,
    cells: Sequence[Cell],
    trials: Sequence[tuning.Trial],
) -> dict[str, str]:
    session = provenance.session()
    recipe = base.recipe
    epochs = run_folder.read(cells[0].workdir).config["recipe"]["epochs"]
    # Those that were read from a path may have been trained in another way.
    here = not all("@" in teacher for teacher in base.teachers.teachers)
    trained = f" ({base.teachers.teacher_epochs or epochs} epochs where trained here)" if here else ""
    facts = {
        "Data": f"{base.data.dataset}: {len(dataset.train_images):,} training images; accuracies are on its "
        f"test split, {len(dataset.test_images):,} images of {dataset.num_classes} classes",
        "Student": base.student.student,
        "Teachers": ", ".join(base.teachers.teachers) + trained,
        "Training": f"{epochs} epochs, batches of {recipe.batch_size}, {recipe.dtype}",
        "Seeds": ", ".join(map(str, settings.seeds)),
    }
    for cell in cells[: len(settings.methods)]:
        if cell.hyperparameters:
            values = ", ".join(f"{name} {value}" for name, value in cell.hyperparameters.items())
            facts[f"Set for {cell.method}"] = values
    if trials:
        facts["Tuned"] = (
            f"at most {settings.tune_trials} choices for each method, scored on a tenth of the training "
            "images (tuning.json); test images were not looked at"
        )
    devices, versions = session["devices"], session["versions"]
    facts["Command"] = f"`{session['command']}`"
    facts["Versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    facts["Commit"] = f"{session['commit'] or 'unknown'}, {session['time']}"
    facts["Device"] = f"{devices['count']} × {devices['kind']}, Python {session['python']}"
    return facts


def _write(
    folder: Path,
    cells: Sequence[Cell],
    baseline: str,
    published: Mapping[str, Published],
    facts: dict[str, str],
) -> str:
    results = [cell.read() for cell in cells]
    found = rows(results, baseline)
    text = table.markdown(results, found, baseline, facts, published)
    files.write(folder / "table.md", text)
    files.write(folder / "table.csv", table.comma_separated(found, published))
    files.write(folder / "runs.csv", table.comma_separated_runs(results))
    return text
