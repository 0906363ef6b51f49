"""The picture of a run: accuracy, losses, and the teachers' weights moving."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from jkd.errors import UserError
from jkd.machine import files
from jkd.report import panel
from jkd.report.panel import BLACK, COLOURS, QUIET, finish, plot, series, style


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
    teachers = [(_literal(panel.teacher_label(name, k)), top1) for k, (name, top1) in enumerate(teachers)]
    records = [record for record in records if "test/top1" in record]
    if not records:
        raise UserError("there is nothing to draw: the run has no tested epoch yet")
    weights = panel.names_of_weights(records)
    figure = panel.figure(3.9 if weights else 2.6, _literal(title))
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
    path = Path(path)
    form = path.suffix.removeprefix(".")
    files.replace(path, lambda file: figure.savefig(file, format=form))


def _draw_accuracy(
    axes: Axes,
    records: Sequence[dict[str, Any]],
    teachers: Sequence[tuple[str, float | None]],
    ensemble_top1: float | None,
) -> None:
    labels = []
    for index, (name, accuracy) in enumerate(teachers):
        if accuracy is not None:
            axes.axhline(accuracy, linewidth=1, **style(index))
            labels.append((accuracy, f"{name} {accuracy:.1%}", style(index)["color"]))
    if ensemble_top1 is not None:
        axes.axhline(ensemble_top1, color=QUIET, linewidth=1, linestyle="--")
        labels.append((ensemble_top1, f"ensemble {ensemble_top1:.1%}", QUIET))
    epochs, top1 = series(records, "test/top1")
    plot(axes, epochs, top1, color=BLACK, linewidth=1.6)
    labels.append((top1[-1], f"student {top1[-1]:.1%}", BLACK))
    # The first epochs would press the rest, where the teachers are, into a thin stripe.
    bottom = min([np.quantile(top1, 0.15), *(value for value, _, _ in labels)])
    panel.accuracy_axis(axes, bottom, max([top1.max(), *(value for value, _, _ in labels)]))
    finish(axes, "test accuracy", labels)


def _draw_losses(axes: Axes, records: Sequence[dict[str, Any]]) -> None:
    labels = []
    lines = (
        ("train/loss", "training", COLOURS[0]),
        ("train/ce", "training, CE alone", COLOURS[5]),
        ("test/loss", "test", BLACK),
    )
    for name, label, colour in lines:
        epochs, values = series(records, name)
        if len(epochs):
            plot(axes, epochs, values, color=colour, linewidth=1.2)
            labels.append((values[-1], label, colour))
    axes.set_yscale("log")
    finish(axes, "loss", labels)


def _draw_weights(axes: Axes, records: Sequence[dict[str, Any]], name: str, teachers: Sequence[str]) -> None:
    epochs, means = series(records, name)
    _, deviations = series(records, f"{name}_std")
    labels = []
    for teacher, mean in enumerate(means.T):
        look = style(teacher)
        if len(deviations) == len(means):
            low, high = mean - deviations[:, teacher], mean + deviations[:, teacher]
            axes.fill_between(
                epochs, low.clip(0), high.clip(max=1), color=look["color"], alpha=0.15, linewidth=0
            )
        plot(axes, epochs, mean, linewidth=1.4, **look)
        label = teachers[teacher] if teacher < len(teachers) else f"teacher {teacher + 1}"
        labels.append((mean[-1], label, look["color"]))
    axes.axhline(1 / means.shape[1], color=QUIET, linewidth=0.8, linestyle=":", zorder=0)
    finish(axes, f"weights of the teachers' {name.removeprefix(panel.WEIGHTS).replace('_', ' ')}", labels)


def _literal(text: str) -> str:
    """A text as matplotlib shows it as it is: a "$" in a folder's name begins no formula."""
    return text.replace("$", r"\$")
