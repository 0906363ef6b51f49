"""A comparison as its folder has it: what its page is made of, without planning anything again."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jkd import run as run_folder
from jkd.errors import UserError
from jkd.machine import files
from jkd.report.page import of_comparison
from jkd.report.results import Result
from jkd.report.table import Published

FILE = "comparison.json"
DIVERGED = "diverged.json"
# ROW[-HYPERPARAMETERS]-seedN[-codeDIGEST], as `jkd.comparison.cells` and --again name them.
CELL = re.compile(r"(?P<row>.+?)(-[0-9a-f]{8})?-seed\d+(-code[0-9a-f]{8})?")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a comparison's page says.

    Attributes:
        folder: Its folder; the page is in it.
        results: The runs, in the order of the table.
        baseline: The method that differences are to.
        facts: What must be known of how it was made, by name.
        published: By method, a paper's number.
    """

    folder: Path
    results: Sequence[Result]
    baseline: str
    facts: Mapping[str, str]
    published: Mapping[str, Published]

    @property
    def finished(self) -> bool:
        """Whether no run is left to do."""
        return all(result.finished for result in self.results)


def result_of(folder: Path, row: str, seed: int, train_images: int = 0) -> Result:
    """Returns what there is of a run of a comparison: nothing yet, a part, or all."""
    diverged = folder / DIVERGED
    contents = run_folder.read(folder) if (folder / "config.json").exists() else None
    return Result(
        method=row,
        seed=seed,
        records=contents.records if contents else [],
        summary=contents.summary if contents else None,
        diverged=files.read_json(diverged)["message"] if diverged.exists() else None,
        train_images=train_images,
        folder=folder,
    )


def keep(comparison: Comparison) -> None:
    """Writes what the page can be made anew from into a comparison's folder."""
    cells = [
        {"row": r.method, "seed": r.seed, "folder": r.folder.name, "train_images": r.train_images}
        for r in comparison.results
        if r.folder is not None
    ]
    published = {name: entry._asdict() for name, entry in comparison.published.items()}
    facts = dict(comparison.facts)
    entries = {"baseline": comparison.baseline, "facts": facts, "published": published, "cells": cells}
    files.write_json(comparison.folder / FILE, entries)


def write_page(comparison: Comparison, page: Path | None = None, seconds: int | None = None) -> Path:
    """Writes a comparison's page.

    Args:
        comparison: The comparison.
        page: The page, `report.html` in its folder unless given.
        seconds: After how many the page loads itself again while runs go on.
    """
    path = page or comparison.folder / of_comparison.FILE
    told = comparison.baseline, comparison.facts, comparison.published
    of_comparison.write(path, comparison.results, *told, seconds=seconds)
    return path


def is_one(folder: Path) -> bool:
    """Whether a folder is a comparison's."""
    return (folder / FILE).exists() or any(_cells(folder))


def read(folder: Path) -> Comparison:
    """Reads a comparison from its folder, that of an earlier jkd too, which did not keep all that is told.

    Raises:
        UserError: a file in it is damaged, or there is no run.
    """
    if not (folder / FILE).exists():
        return _earlier(folder)
    kept = files.read_json(folder / FILE)
    return Comparison(
        folder,
        [
            result_of(folder / cell["folder"], cell["row"], cell["seed"], cell["train_images"])
            for cell in kept["cells"]
        ],
        kept["baseline"],
        dict(kept["facts"]),
        {name: Published(**entry) for name, entry in kept["published"].items()},
    )


def _earlier(folder: Path) -> Comparison:
    cells = _cells(folder)
    if not cells:
        raise UserError(f"{folder} is no comparison's folder: there is no run in it")
    results = [result_of(path, row, run_folder.read(path).config["seed"]) for path, row in cells]
    names = list(dict.fromkeys(result.method for result in results))
    baseline = "aver" if "aver" in names else names[0]
    told = "made by an earlier jkd, which kept neither its baseline nor published numbers for this page"
    return Comparison(folder, results, baseline, {"Comparison": told}, {})


def _cells(folder: Path) -> list[tuple[Path, str]]:
    """Returns the folders of the runs that look like a comparison's, with their rows, in order of start."""
    found = [
        (path, cell["row"])
        for path in sorted(folder.glob("*-seed*"))
        if (cell := CELL.fullmatch(path.name)) and (path / "config.json").exists()
    ]
    return sorted(found, key=lambda one: _begun(one[0]))


def _begun(folder: Path) -> str:
    sessions = files.read_lines(folder / "sessions.jsonl")
    return str(sessions[0].get("time")) if sessions else ""
