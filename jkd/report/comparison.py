"""The pictures of a comparison: accuracy over epochs, differences with intervals, the teachers' weights."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jkd.machine import files
from jkd.report import panel, table
from jkd.report.panel import BLACK, FONT, QUIET, finish, plain, plot, series, style
from jkd.report.results import CONFIDENCE, Result, by_seed, differences

_LINE = 0.13  # inches that a line of text takes
_DASHES = {"-": "—", "--": "- -", ":": "· ·", "-.": "- ·"}
_ALIKE = 1e-4  # weights that never differ by more are equal, and there is nothing to see


def draw_all(results: Sequence[Result], baseline: str, folder: Path, form: str = "png") -> list[str]:
    """Draws what there is to draw of the finished runs, and returns the names of the pictures in `folder`.

    `accuracy.png` has test accuracy over epochs, the mean over seeds with a band of one standard deviation to
    either side, and the teachers and their ensemble as levels. `differences.png` has each method's paired
    difference to the baseline in the last epoch, with its intervals and a dot for each seed. `weights.png`
    has the teachers' weights of the methods that have some.

    Args:
        results: The runs.
        baseline: The method that differences are to.
        folder: Where the pictures are put.
        form: Their format, `png`, `svg` or `pdf`, which is also how their names end.
    """
    done = [result for result in results if result.summary is not None]
    pictures = {
        f"accuracy.{form}": _accuracy(done),
        f"differences.{form}": _differences(done, baseline),
        f"weights.{form}": _weights(done),
    }
    for name, figure in pictures.items():
        if figure is None:
            (folder / name).unlink(missing_ok=True)  # of an earlier comparison in this folder
        else:
            files.replace(folder / name, partial(figure.savefig, format=form))
    return [name for name, figure in pictures.items() if figure is not None]


def _methods(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.method for result in results))


def _over_seeds(results: Sequence[Result], method: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs `[n]` and values `[seeds, n, ...]`."""
    found = [series(result.records, name) for result in results if result.method == method]
    return found[0][0], np.stack([values for _, values in found])


def _line(axes: Axes, epochs: np.ndarray, values: np.ndarray, index: int) -> float:
    """Draws the mean over seeds in a band of one standard deviation; returns the end of the line."""
    mean, look = values.mean(0), style(index)
    if len(values) > 1:
        std = values.std(0, ddof=1)
        low, high = (mean - std).clip(0), (mean + std).clip(max=1)
        axes.fill_between(epochs, low, high, color=look["color"], alpha=0.13, linewidth=0)
    plot(axes, epochs, mean, linewidth=1.2, **look)
    return float(mean[-1])


def _accuracy(results: Sequence[Result]) -> Figure | None:
    methods = _methods(results)
    if not methods:
        return None
    height = max(2.8, 1.2 + 0.18 * (len(methods) + len(table.teachers(results))))
    figure = panel.figure(height)
    axes = figure.add_subplot()
    labels, lowest, highest = [], [], []
    for index, method in enumerate(methods):
        epochs, values = _over_seeds(results, method, "test/top1")
        end = _line(axes, epochs, values, index)
        look = style(index)
        # Where there are more methods than colours, the label shows the dashes too.
        dashes = f"{_DASHES[look['linestyle']]} " if len(methods) > len(panel.COLOURS) else ""
        labels.append((end, f"{dashes}{method} {end:.1%}", look["color"]))
        # The first epochs would press the rest into a thin stripe.
        lowest.append(np.quantile(values.mean(0), 0.15))
        highest.append(values.max())
    for place, (name, row) in enumerate(table.teachers(results).items()):
        dashes = "--" if "ensemble" in name else ":"
        axes.axhline(row["top1"], color=QUIET, linewidth=0.9, linestyle=dashes, zorder=0)
        who = name.removeprefix("teacher ").replace("teachers' ", "")
        labels.append((row["top1"], f"{panel.teacher_label(who, place)} {row['top1']:.1%}", QUIET))
        lowest.append(row["top1"])
        highest.append(row["top1"])
    panel.accuracy_axis(axes, min(lowest), max(highest))
    seeds = max(len(by_seed(results, method, "last.test/top1")) for method in methods)
    band = f"mean of {seeds} seeds, band: ± one standard deviation" if seeds > 1 else "one seed"
    finish(axes, f"test accuracy ({band})", labels, gap=_LINE / (height - 0.6))
    return figure


def _differences(results: Sequence[Result], baseline: str) -> Figure | None:
    reference = by_seed(results, baseline, "last.test/top1")
    measured = {m: by_seed(results, m, "last.test/top1") for m in _methods(results) if m != baseline}
    measured = {m: values for m, values in measured.items() if values.keys() & reference.keys()}
    if not measured:
        return None
    figure = panel.figure(0.75 + 0.24 * len(measured))
    axes = figure.add_subplot()
    axes.axvline(0, color=QUIET, linewidth=0.8)
    pairs = 0
    compared = differences(results, baseline)
    for place, (method, values) in enumerate(measured.items()):
        found, corrected = compared[method]
        pairs = max(pairs, found.pairs)
        colour = style(0)["color"]
        if found.pairs > 1:
            axes.plot([100 * found.low, 100 * found.high], [place, place], color=colour, linewidth=1.6)
            wider = [100 * corrected.low, 100 * corrected.high]
            axes.plot(wider, [place, place], "|-", color=colour, linewidth=0.7, markersize=4)
        seeds = [100 * (values[seed] - reference[seed]) for seed in values.keys() & reference.keys()]
        axes.plot(
            seeds, [place] * len(seeds), "o", markersize=3.2, color=BLACK, markeredgecolor="white", zorder=3
        )
        axes.plot(100 * found.mean, place, "D", markersize=4.5, color=colour, zorder=2)
        axes.annotate(
            f"{100 * found.mean:+.2f}",
            (1, place),
            xytext=(3, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=FONT - 0.5,
            va="center",
        )
    axes.set_yticks(range(len(measured)), list(measured))
    axes.set_ylim(len(measured) - 0.5, -0.5)
    axes.grid(axis="x", linewidth=0.4, alpha=0.4)
    axes.set_xlabel("points of top-1 on the test images, last epoch", fontsize=FONT - 0.5)
    interval = (
        f"diamond: mean, dots: {pairs} seeds, line: {CONFIDENCE:.0%} interval, thin: Holm-corrected"
        if pairs > 1
        else "one seed, so no interval"
    )
    plain(axes, f"difference to {baseline} ({interval})")
    return figure


def _weights(results: Sequence[Result]) -> Figure | None:
    panels = [
        (method, name)
        for method in _methods(results)
        for name in panel.names_of_weights([x for r in results if r.method == method for x in r.records])
        if np.ptp(_over_seeds(results, method, name)[1]) > _ALIKE
    ]
    if not panels:
        return None
    rows = -(-len(panels) // 2)
    figure = panel.figure(0.3 + 1.3 * rows)
    grid = figure.add_gridspec(rows, 2)
    for place, (method, name) in enumerate(panels):
        axes = figure.add_subplot(grid[place // 2, place % 2])
        (first, *_) = (result for result in results if result.method == method)
        assert first.summary is not None
        rated = [teacher["name"] for teacher in first.summary["teachers"]]
        teachers = [panel.teacher_label(teacher, k) for k, teacher in enumerate(rated)]
        epochs, values = _over_seeds(results, method, name)
        labels = []
        for teacher in range(values.shape[-1]):
            end = _line(axes, epochs, values[..., teacher], teacher)
            labels.append((end, teachers[teacher], style(teacher)["color"]))
        axes.axhline(1 / values.shape[-1], color=QUIET, linewidth=0.8, linestyle=":", zorder=0)
        kind = name.removeprefix(panel.WEIGHTS).replace("_", " ")
        finish(axes, f"{method}: weights of {kind}", labels, gap=0.14)
    return figure
