"""The picture of a run: accuracy, losses, and the teachers' weights moving."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jkd.errors import UserError

# Okabe and Ito's palette for the colour-blind, without its yellow, too pale for lines on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_STUDENT, _QUIET = "#000000", "#767676"
_SIZE, _DPI = (6.0, 3.9), 150  # inches; 900 pixels wide, as a README shows it
_FONT = 7.5
_WEIGHTS = "train/weight_"


def draw(
    records: Sequence[dict[str, Any]],
    path: str | os.PathLike[str],
    *,
    teachers: Sequence[tuple[str, float | None]] = (),
    ensemble_top1: float | None = None,
    title: str = "",
) -> None:
    """Draws the records of a run, `jkd.run.read(workdir).records`, to an image.

    Left, the student's test accuracy over epochs (from where its steep beginning ends), with each teacher and
    their ensemble as a horizontal line, and the losses. Right, where the method weights its teachers
    (`train/weight_*` is recorded), one panel for each kind of weight: a line for each teacher, in a band of
    one standard deviation to either side where that is recorded (`train/weight_*_std`).

    Args:
        records: One record per epoch, with `epoch` and `test/top1` (fractions of 1).
        path: The image; its suffix gives the format.
        teachers: Name and top-1 accuracy (fraction of 1, None if unknown) of each, ordered as the weights.
        ensemble_top1: Top-1 accuracy of the teachers' ensemble.
        title: A line above the picture.

    Raises:
        UserError: There is no epoch to draw yet.
    """
    records = [record for record in records if "test/top1" in record]
    if not records:
        raise UserError("there is nothing to draw: the run has no tested epoch yet")
    weights = _names_of_weights(records)
    figure = Figure(_SIZE if weights else (_SIZE[0], 2.6), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(title, fontsize=_FONT + 1, x=0.01, ha="left")
    grid = figure.add_gridspec(1, 2)
    above, below = grid[0, 0], grid[0, 1]
    if weights:
        left = grid[0, 0].subgridspec(2, 1, height_ratios=(3, 2))
        right = grid[0, 1].subgridspec(len(weights), 1)
        above, below = left[0], left[1]
        for row, name in enumerate(weights):
            _draw_weights(figure.add_subplot(right[row]), records, name, [teacher for teacher, _ in teachers])
    _draw_accuracy(figure.add_subplot(above), records, teachers, ensemble_top1)
    _draw_losses(figure.add_subplot(below), records)
    figure.savefig(path)


def _names_of_weights(records: Sequence[dict[str, Any]]) -> list[str]:
    names = {key for record in records for key in record if key.startswith(_WEIGHTS)}
    return sorted((name for name in names if not name.endswith("_std")), reverse=True)


def _series(records: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs `[n]` and values `[n, ...]` where the name is recorded."""
    found = [(record["epoch"], record[name]) for record in records if name in record]
    return np.array([epoch for epoch, _ in found]), np.array([value for _, value in found], float)


def _style(teacher: int) -> dict[str, Any]:
    styles = ("-", "--", ":", "-.")
    return {
        "color": _COLOURS[teacher % len(_COLOURS)],
        "linestyle": styles[teacher // len(_COLOURS) % len(styles)],
    }


def _plot(axes: Axes, epochs: np.ndarray, values: np.ndarray, **style: Any) -> None:
    axes.plot(epochs, values, marker="o" if len(epochs) == 1 else "", markersize=3, **style)


def _draw_accuracy(
    axes: Axes,
    records: Sequence[dict[str, Any]],
    teachers: Sequence[tuple[str, float | None]],
    ensemble_top1: float | None,
) -> None:
    labels = []
    for index, (name, accuracy) in enumerate(teachers):
        if accuracy is not None:
            axes.axhline(accuracy, linewidth=1, **_style(index))
            labels.append((accuracy, f"{name} {accuracy:.1%}", _style(index)["color"]))
    if ensemble_top1 is not None:
        axes.axhline(ensemble_top1, color=_QUIET, linewidth=1, linestyle="--")
        labels.append((ensemble_top1, f"ensemble {ensemble_top1:.1%}", _QUIET))
    epochs, top1 = _series(records, "test/top1")
    _plot(axes, epochs, top1, color=_STUDENT, linewidth=1.6)
    labels.append((top1[-1], f"student {top1[-1]:.1%}", _STUDENT))
    # The first epochs would press the rest, where the teachers are, into a thin stripe.
    bottom = min([np.quantile(top1, 0.15), *(value for value, _, _ in labels)])
    span = max([top1.max(), *(value for value, _, _ in labels)]) - bottom
    axes.set_ylim(bottom - 0.05 * span - 1e-3, bottom + 1.05 * span + 1e-3)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g}%")
    _finish(axes, "test accuracy", labels)


def _draw_losses(axes: Axes, records: Sequence[dict[str, Any]]) -> None:
    labels = []
    lines = (
        ("train/loss", "training", _COLOURS[0]),
        ("train/ce", "training, CE alone", _COLOURS[5]),
        ("test/loss", "test", _STUDENT),
    )
    for name, label, colour in lines:
        epochs, values = _series(records, name)
        if len(epochs):
            _plot(axes, epochs, values, color=colour, linewidth=1.2)
            labels.append((values[-1], label, colour))
    axes.set_yscale("log")
    _finish(axes, "loss", labels)


def _draw_weights(axes: Axes, records: Sequence[dict[str, Any]], name: str, teachers: Sequence[str]) -> None:
    epochs, means = _series(records, name)
    _, deviations = _series(records, f"{name}_std")
    labels = []
    for teacher, mean in enumerate(means.T):
        style = _style(teacher)
        if len(deviations) == len(means):
            low, high = mean - deviations[:, teacher], mean + deviations[:, teacher]
            axes.fill_between(
                epochs, low.clip(0), high.clip(max=1), color=style["color"], alpha=0.15, linewidth=0
            )
        _plot(axes, epochs, mean, linewidth=1.4, **style)
        label = teachers[teacher] if teacher < len(teachers) else f"teacher {teacher + 1}"
        labels.append((mean[-1], label, style["color"]))
    axes.axhline(1 / means.shape[1], color=_QUIET, linewidth=0.8, linestyle=":", zorder=0)
    _finish(axes, f"weights of the teachers' {name.removeprefix(_WEIGHTS).replace('_', ' ')}", labels)


def _finish(axes: Axes, title: str, labels: Sequence[tuple[float, str, str]]) -> None:
    """Titles the panel, and writes each label at its line's end, moved apart where they would overlap."""
    axes.set_title(title, fontsize=_FONT, loc="left")
    axes.tick_params(which="both", labelsize=_FONT - 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4, min_n_ticks=1))
    panel = axes.get_subplotspec()
    if panel is not None and panel.is_last_row():
        axes.set_xlabel("epoch", fontsize=_FONT - 0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", linewidth=0.4, alpha=0.4)
    axes.margins(x=0)
    labels = sorted(labels)
    axes.get_ylim()  # settles the limits, on which the transformation depends
    to_fraction = axes.transData + axes.transAxes.inverted()
    at = [to_fraction.transform((0, value))[1] for value, _, _ in labels]
    for position, (_, label, colour) in zip(_spread(at, gap=0.1), labels, strict=True):
        axes.annotate(
            label,
            (1, position),
            xytext=(3, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=_FONT - 0.5,
            color=colour,
            va="center",
        )


def _spread(positions: Sequence[float], gap: float) -> np.ndarray:
    """The positions in [0, 1] nearest to these sorted ones (least squares) that are at least `gap` apart.

    Where that many do not fit, they are evenly spaced.
    """
    # With the gaps taken off this is isotonic regression: violating neighbours are pooled into their mean.
    gap = min(gap, 1 / max(len(positions) - 1, 1))
    offsets = gap * np.arange(len(positions))
    blocks: list[list[float]] = []
    for position in np.asarray(positions) - offsets:
        blocks.append([position])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    pooled = np.repeat([np.mean(block) for block in blocks], [len(block) for block in blocks])
    return pooled.clip(0, 1 - offsets[-1]) + offsets
