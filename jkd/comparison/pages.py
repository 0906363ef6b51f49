"""Pages made anew: of runs and comparisons, one of several folders together, and while runs go on."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from jkd import run as run_folder
from jkd.comparison import reopened
from jkd.comparison.reopened import Comparison
from jkd.errors import UserError, nearest
from jkd.flags import Flag, resolve
from jkd.planning.identity import digest
from jkd.report.page import of_run
from jkd.report.results import Result

_LOOK = 1.0  # seconds between looks at what has been written
_NEWS = ("metrics.jsonl", "summary.json", reopened.DIVERGED, reopened.FILE)


@dataclasses.dataclass(frozen=True)
class Report:
    """Report: which pages are made."""

    watch: Annotated[bool, Flag("make them again whenever something is logged, until all is finished")] = (
        False
    )
    every: Annotated[
        int, Flag("with --watch, seconds after which an open page loads itself again", at_least=1)
    ] = 10
    output: Annotated[
        str | None,
        Flag(
            "one page of all the runs in the folders together, as a comparison", default="one in each folder"
        ),
    ] = None
    baseline: Annotated[
        str | None,
        Flag("with --output, the row that differences are to", default="aver if there, else the first"),
    ] = None


def report(folders: Sequence[str], settings: Report, say: Callable[[str], object] = print) -> None:
    """Makes the pages of runs and comparisons anew, from what their folders have.

    Args:
        folders: Of runs, of comparisons, or that hold some.
        settings: Which pages.
        say: Is called with a line for each page that is made the first time.

    Raises:
        UserError: a folder has nothing to show, or a file in it is damaged.
    """
    settings = Report(**resolve(Report, vars(settings)))
    if settings.baseline is not None and settings.output is None:
        raise UserError("--baseline is for a page of several folders together: give --output=FILE.html too")
    told: set[Path] = set()
    while True:
        found = [one for folder in folders for one in _within(Path(folder))]
        news = _news(found)
        for page in _make(found, settings):
            if page not in told:
                say(f"{page} is made")
                told.add(page)
        if not settings.watch or all(_finished(one) for one in found):
            return
        while _news(found) == news:
            time.sleep(_LOOK)


def _within(folder: Path) -> Iterator[Path]:
    """Gives a folder of a run or a comparison, or those that it holds."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give that of a run or a comparison, its --workdir")
    if _shows(folder):
        yield folder
        return
    held = [path for path in sorted(folder.iterdir()) if path.is_dir() and _shows(path)]
    if not held:
        raise UserError(f"{folder} is neither a run's nor a comparison's folder, and holds none")
    yield from held


def _shows(folder: Path) -> bool:
    return (folder / "config.json").exists() or reopened.is_one(folder)


def _make(found: Sequence[Path], settings: Report) -> Iterator[Path]:
    seconds = settings.every if settings.watch else None
    if settings.output is not None:
        yield reopened.write_page(_together(found, settings), Path(settings.output), seconds)
        return
    for folder in found:
        if (folder / "config.json").exists():
            yield of_run.write(run_folder.read(folder), seconds=seconds)
            continue
        comparison = reopened.read(folder)
        for result in comparison.results:
            if result.folder is not None and (result.folder / "config.json").exists():
                of_run.write(run_folder.read(result.folder), seconds=seconds)
        yield reopened.write_page(comparison, seconds=seconds)


def _runs(folder: Path) -> list[Path]:
    if (folder / "config.json").exists():
        return [folder]
    return [result.folder for result in reopened.read(folder).results if result.folder is not None]


def _news(found: Sequence[Path]) -> list[Any]:
    """Returns what changes whenever something is written that a page shows."""
    looked = [path for folder in found for path in (folder, *_runs(folder))]
    paths = [folder / name for folder in looked for name in _NEWS]
    return [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths if path.exists()]


def _finished(folder: Path) -> bool:
    if (folder / "config.json").exists():
        return any((folder / name).exists() for name in ("summary.json", reopened.DIVERGED))
    return reopened.read(folder).finished


def _together(found: Sequence[Path], settings: Report) -> Comparison:
    """Returns all the runs in folders as one comparison: those that differ by their seed alone are a row."""
    rows: dict[Any, list[Result]] = {}
    where: dict[Any, str] = {}
    for folder in found:
        if (folder / "config.json").exists():
            config = run_folder.read(folder).config
            key: Any = digest({name: value for name, value in config.items() if name != "seed"})
            where.setdefault(key, folder.name)
            rows.setdefault(key, []).append(reopened.result_of(folder, config["method"], config["seed"]))
            continue
        for result in reopened.read(folder).results:
            key = folder, result.method
            where[key] = folder.name
            rows.setdefault(key, []).append(result)
    names = [results[0].method for results in rows.values()]
    merged = [
        dataclasses.replace(result, method=f"{result.method} ({where[key]})")
        if names.count(result.method) > 1
        else result
        for key, results in rows.items()
        for result in results
    ]
    names = list(dict.fromkeys(result.method for result in merged))
    if settings.baseline is not None and settings.baseline not in names:
        raise UserError(
            f"--baseline={settings.baseline} is no row{nearest(settings.baseline, names)}; "
            f"there are {', '.join(names)}"
        )
    baseline = settings.baseline or ("aver" if "aver" in names else names[0])
    page = Path(settings.output or "")
    return Comparison(page.parent, merged, baseline, _facts(found), {})


def _facts(found: Sequence[Path]) -> dict[str, str]:
    """Returns what runs share, and says where they do not share what an accuracy depends on."""
    configs = [
        run_folder.read(path).config
        for folder in found
        for path in _runs(folder)
        if (path / "config.json").exists()
    ]
    facts = {"Folders": ", ".join(map(str, found))}
    for title, values in {
        "Data": [f"{c['dataset']['name']} ({c['dataset']['fingerprint']})" for c in configs],
        "Student": [c["student"] for c in configs],
        "Training": [f"{c['recipe']['epochs']} epochs" for c in configs],
    }.items():
        different = list(dict.fromkeys(values))
        warning = "; not the same for all, so differences are not the methods' alone"
        facts[title] = ", ".join(different) + (warning if len(different) > 1 else "")
    return facts
