"""Teachers × classes as a heat map: whom each class's examples listen to, beside who knows the class."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from jkd.report import panel
from jkd.report.listening import Listener

_MAP = "cividis"  # readable for the colour-blind, and in grey
_PER_ROW = 2  # panels side by side


def draw(
    rows: Sequence[Listener],
    teachers: Sequence[str],
    experts: Float[np.ndarray, "teachers classes"],
    class_names: Sequence[str] | None,
) -> Figure:
    """Returns a panel for each row of a comparison and kind of weight, of the last epoch's mean over seeds.

    Frames are around the classes that a teacher was taught; a weighting that knows whom to ask is light
    within them and dark outside. Rows that weigh all teachers alike have no panel.

    Args:
        rows: The rows.
        teachers: Their teachers' names.
        experts: 1 where a teacher was taught a class, else 0.
        class_names: Names of the classes, where known.
    """
    panels = [
        (f"{row.name}, {kind}" if len(row.kinds()) > 1 else row.name, row.of_classes(kind, experts.shape[1]))
        for row in rows
        for kind in row.kinds()
        if not row.listens_alike
    ]
    lines = max(1, -(-len(panels) // _PER_ROW))
    title = "weight that each class gives each teacher (framed: who was taught the class, and its share in %)"
    figure = panel.figure(0.9 + 0.75 * lines + (0.5 if class_names else 0), title)
    grid = figure.add_gridspec(lines, _PER_ROW)
    image = None
    for place, (name, shares) in enumerate(panels):
        axes = figure.add_subplot(grid[place // _PER_ROW, place % _PER_ROW])
        mean = shares.mean(0)
        image = axes.imshow(mean, cmap=_MAP, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        _frame(axes, experts)
        right = np.nanmean((mean * experts).sum(0))
        panel.plain(axes, f"{name}: {right:.0%}")
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.tick_params(length=0)
        shown = [panel.teacher_label(teacher.partition(":")[0], k) for k, teacher in enumerate(teachers)]
        axes.set_yticks(range(len(teachers)), shown if place % _PER_ROW == 0 else [""] * len(teachers))
        _name_classes(axes, class_names, experts.shape[1], below=place // _PER_ROW == lines - 1)
    if image is not None:
        bar = figure.colorbar(image, ax=figure.axes, shrink=0.6, aspect=30, pad=0.01)
        bar.ax.tick_params(labelsize=panel.FONT - 1)
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.set_label("share of the weight", fontsize=panel.FONT - 0.5)
    return figure


def _frame(axes: Axes, experts: Float[np.ndarray, "teachers classes"]) -> None:
    """Draws a frame around each run of classes that a teacher was taught."""
    for teacher, taught in enumerate(experts):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], taught, [0]])))
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            axes.add_patch(
                Rectangle(
                    (first - 0.5, teacher - 0.5),
                    end - first,
                    1,
                    fill=False,
                    edgecolor=panel.COLOURS[1],
                    linewidth=1.6,
                    clip_on=False,
                )
            )


def _name_classes(axes: Axes, names: Sequence[str] | None, classes: int, below: bool) -> None:
    if not below:
        axes.set_xticks([])
    elif names:
        axes.set_xticks(range(classes), list(names), rotation=90)
        axes.tick_params(axis="x", labelsize=panel.FONT - 2.5)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("class", fontsize=panel.FONT - 0.5)
