"""The tables of a comparison's page: sorted by a press, intervals drawn in their cells."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jkd.report import table
from jkd.report.page import of_run
from jkd.report.page.document import number, text
from jkd.report.results import CONFIDENCE, Result, Row, by_seed
from jkd.report.table import Published

_WIDTH, _HEIGHT, _EDGE = 130, 18, 6  # pixels of a drawing in a cell
_UNSAID = '<td data-sort="">–</td>'


def methods(
    results: Sequence[Result], rows: Sequence[Row], baseline: str, published: Mapping[str, Published]
) -> str:
    """Returns the table of the methods: the numbers of `table.md`, and drawings of them."""
    heads = ["method", "seeds", "top-1 %, last epoch", "each seed"]
    heads += ["published top-1 %"] if published else []
    heads += [f"difference to {baseline}, points", f"{CONFIDENCE:.0%} interval, thin: Holm-corrected"]
    heads += [
        "best top-1 % (chosen on test)",
        "calibration error %",
        "training images",
        f"time per step, × {baseline}",
    ]
    heads += ["memory of a step, MiB", "images/s", "parameters", "multiply-adds"]
    seeds = {row.method: list(by_seed(results, row.method, "last.test/top1").values()) for row in rows}
    accuracies = [value for values in seeds.values() for value in values]
    ends = [end for row in rows for end in (*row.difference[:3], *row.corrected[:3]) if not math.isnan(end)]
    lines = []
    for row in rows:
        there, is_base = row.finished > 0, row.method == baseline
        name = text(row.method)
        cells = [
            f'<td data-sort="{name}"><b>{name}</b></td>',
            f'<td data-sort="{row.finished}">{table.count(row)}</td>',
            _cell(f"{row.method}.top1", row.top1.mean, table.percent(row.top1)),
            f'<td data-sort="{_key(row.top1.mean)}">{_dots(seeds[row.method], accuracies)}</td>',
        ]
        if published:
            known = published.get(row.method)
            cells.append(_cell(f"{row.method}.published", known.top1, known.number) if known else _UNSAID)
        if is_base or not row.difference.pairs:
            cells += ['<td data-sort="0">baseline</td>' if is_base else _UNSAID, _UNSAID]
        else:
            mean = row.difference.mean
            intervals = f"{table.interval(row.difference)}; Holm-corrected {table.interval(row.corrected)}"
            said = intervals if row.difference.pairs > 1 else "one seed, so no interval"
            cells.append(_cell(f"{row.method}.difference", mean, table.difference(row.difference)))
            cells.append(f'<td data-sort="{mean}" title="{text(said)}">{_interval(row, ends)}</td>')
        cells += [
            _cell(f"{row.method}.best_top1", row.best_top1.mean, table.percent(row.best_top1)),
            _cell(f"{row.method}.ece", row.calibration_error.mean, table.percent(row.calibration_error)),
            _cell(f"{row.method}.train_images", row.train_images or math.nan, f"{row.train_images:,}"),
            _cell(f"{row.method}.relative_time", row.relative_time, table.number(row.relative_time, 2)),
            _cell(f"{row.method}.memory", row.step_bytes, table.number(row.step_bytes / 2**20, 1)),
            _cell(f"{row.method}.speed", row.images_per_second, table.number(row.images_per_second)),
            _cell(f"{row.method}.parameters", row.parameters, f"{row.parameters:,}") if there else _UNSAID,
            _cell(f"{row.method}.multiply_adds", row.multiply_adds, f"{row.multiply_adds:,}")
            if there
            else _UNSAID,
        ]
        lines.append("".join(cells))
    return sortable(heads, lines, "methods")


def runs(results: Sequence[Result], page: Path) -> str:
    """Returns the table of the runs, with links to their pages from the page at a path."""
    lines = []
    for result in results:
        state = "diverged" if result.diverged else "finished" if result.summary else "to come"
        if state == "to come" and result.records:
            state = f"epoch {len(result.records)} is done"
        cells = [
            f'<td data-sort="{text(result.method)}"><b>{text(result.method)}</b></td>',
            f'<td data-sort="{result.seed}">{result.seed}</td>',
            f'<td data-sort="{state}">{state}</td>',
        ]
        for name in ("last.test/top1", "best.test/top1", "last.test/ece"):
            if result.summary:
                value = result.value(name)
                called = f"{result.method}.{result.seed}.{name}"
                cells.append(_cell(called, value, f"{value:.2%}" if "top1" in name else f"{value:.4f}"))
            else:
                cells.append(_UNSAID)
        cells.append(f'<td data-sort="">{_link(result, page)}</td>')
        lines.append("".join(cells))
    heads = [
        "method",
        "seed",
        "state",
        "top-1, last epoch",
        "best top-1 (chosen on test)",
        "calibration error",
        "page",
    ]
    return sortable(heads, lines, "runs")


def teachers(results: Sequence[Result]) -> str:
    """Returns the table of the teachers and their ensemble, or nothing where there are none."""
    rated: Mapping[str, Mapping[str, Any]] = table.teachers(results)
    if not rated:
        return ""
    lines = [
        f'<td data-sort="{text(name)}">{text(name.removeprefix("teacher "))}</td>'
        + _cell(f"{name}.top1", top1, f"{top1:.2%}")
        for name, top1 in ((name, row["top1"]) for name, row in rated.items())
    ]
    return sortable(["teacher", "test top-1"], lines, "teachers")


def sortable(heads: Sequence[str], lines: Sequence[str], name: str) -> str:
    """Returns a table that a press on a heading sorts."""
    head = "".join(f"<th>{text(words)}</th>" for words in heads)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table class="sortable" id="table_{name}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _link(result: Result, page: Path) -> str:
    if result.folder is None or not (result.folder / of_run.FILE).exists():
        return "–"
    there = Path(os.path.relpath(result.folder / of_run.FILE, page.parent)).as_posix()
    return f'<a href="{text(there)}">{text(result.folder.name)}</a>'


def _cell(name: str, value: float, shown: str) -> str:
    if math.isnan(value):
        return _UNSAID
    return f'<td data-sort="{value}">{number(name, value, shown)}</td>'


def _key(value: float) -> str:
    return "" if math.isnan(value) else str(value)


def _scale(value: float, values: Sequence[float]) -> float:
    """Returns where a value is in a drawing that has room for all of `values`."""
    low, high = min(values), max(values)
    share = (value - low) / (high - low) if high > low else 0.5
    return round(_EDGE + share * (_WIDTH - 2 * _EDGE), 1)


def _drawing(content: str) -> str:
    return f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img">{content}</svg>'


def _dots(values: Sequence[float], every: Sequence[float]) -> str:
    """Draws a dot for each seed and a stroke at their mean, on the scale of all methods."""
    if not values:
        return "–"
    middle = _HEIGHT / 2
    dots = "".join(
        f'<circle cx="{_scale(value, every)}" cy="{middle}" r="3" fill="var(--c0)" fill-opacity="0.6"/>'
        for value in values
    )
    mean = _scale(sum(values) / len(values), every)
    return _drawing(f'{dots}<path d="M{mean} 2V{_HEIGHT - 2}" stroke="var(--ink)" stroke-width="1.5"/>')


def _interval(row: Row, ends: Sequence[float]) -> str:
    """Draws a difference with its two intervals beside zero, on the scale of all differences."""
    every = [0.0, *ends]
    middle, zero = _HEIGHT / 2, _scale(0.0, every)
    parts = [f'<path d="M{zero} 0V{_HEIGHT}" stroke="var(--quiet)" stroke-dasharray="2 2"/>']
    for found, width in ((row.corrected, 1), (row.difference, 3)):
        if found.pairs > 1:
            low, high = _scale(found.low, every), _scale(found.high, every)
            parts.append(f'<path d="M{low} {middle}H{high}" stroke="var(--c0)" stroke-width="{width}"/>')
    parts.append(
        f'<circle cx="{_scale(row.difference.mean, every)}" cy="{middle}" r="3.5" fill="var(--ink)"/>'
    )
    return _drawing("".join(parts))
