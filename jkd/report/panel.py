"""What the panels of all pictures share: colours, sizes, and labels at the ends of lines."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette for the colour-blind, without its yellow, too pale for lines on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BLACK, QUIET = "#000000", "#767676"
WIDTH, DPI = 6.0, 150  # inches; 900 pixels wide, as a README shows it
FONT = 7.5
WEIGHTS = "train/weight_"


def figure(height: float, title: str = "") -> Figure:
    """Returns an empty figure of a README's width and a height in inches."""
    made = Figure((WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(made)
    if title:
        made.suptitle(title, fontsize=FONT + 1, x=0.01, ha="left")
    return made


def style(index: int) -> dict[str, Any]:
    """Returns colour and line style of the line with that index."""
    styles = ("-", "--", ":", "-.")
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": styles[index // len(COLOURS) % len(styles)],
    }


def plot(axes: Axes, epochs: np.ndarray, values: np.ndarray, **style: Any) -> None:
    """Draws a line over epochs, or a dot where there is one epoch."""
    axes.plot(epochs, values, marker="o" if len(epochs) == 1 else "", markersize=3, **style)


def series(records: Sequence[dict[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns epochs `[n]` and values `[n, ...]` where the name is recorded."""
    found = [(record["epoch"], record[name]) for record in records if name in record]
    return np.array([epoch for epoch, _ in found]), np.array([value for _, value in found], float)


def names_of_weights(records: Sequence[dict[str, Any]]) -> list[str]:
    """Returns the names under which weights of the teachers are recorded."""
    names = {key for record in records for key in record if key.startswith(WEIGHTS)}
    return sorted((name for name in names if not name.endswith("_std")), reverse=True)


def percent(value: float, position: Any = None) -> str:
    """Formats a tick of an axis of accuracies."""
    del position
    return f"{100 * value:.4g}%"


def accuracy_axis(axes: Axes, bottom: float, top: float) -> None:
    """Has the vertical axis show accuracies from `bottom` to `top`, and marks it where 0 is cut off."""
    margin = 0.05 * (top - bottom) + 1e-3
    axes.set_ylim(bottom - margin, top + margin)
    axes.yaxis.set_major_formatter(percent)
    if bottom - margin > 0:
        # Two slanted strokes across the foot of the axis, as is usual.
        stroke: dict[str, Any] = {"marker": [(-1, -0.5), (1, 0.5)], "markersize": 6, "linestyle": "none"}
        place: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False, "zorder": 5, "gid": "cut"}
        axes.plot([0, 0], [0.02, 0.045], color=BLACK, **stroke, **place)


def plain(axes: Axes, title: str) -> None:
    """Gives a panel its title, small figures and no frame."""
    axes.set_title(title, fontsize=FONT, loc="left")
    axes.tick_params(which="both", labelsize=FONT - 1)
    axes.spines[["top", "right"]].set_visible(False)


def finish(axes: Axes, title: str, labels: Sequence[tuple[float, str, str]], gap: float = 0.1) -> None:
    """Titles a panel over epochs, and writes each label at its line's end, moved apart where they overlap.

    Args:
        axes: The panel.
        title: Its title.
        labels: Value at the line's end, text and colour of each.
        gap: Least distance of two labels, as a fraction of the panel's height.
    """
    plain(axes, title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4, min_n_ticks=1))
    place = axes.get_subplotspec()
    if place is not None and place.is_last_row():
        axes.set_xlabel("epoch", fontsize=FONT - 0.5)
    axes.grid(axis="y", linewidth=0.4, alpha=0.4)
    axes.margins(x=0)
    labels = sorted(labels)
    axes.get_ylim()  # settles the limits, on which the transformation depends
    to_fraction = axes.transData + axes.transAxes.inverted()
    at = [to_fraction.transform((0, value))[1] for value, _, _ in labels]
    for position, (_, label, colour) in zip(spread_apart(at, gap), labels, strict=True):
        axes.annotate(
            label,
            (1, position),
            xytext=(3, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=FONT - 0.5,
            color=colour,
            va="center",
        )


def spread_apart(positions: Sequence[float], gap: float) -> np.ndarray:
    """Returns the positions in [0, 1] nearest to these sorted ones (least squares) at least `gap` apart.

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


def teacher_label(name: str, position: int) -> str:
    """A teacher as a picture has room for it: one read from a path by its place in `--teachers`, from 1."""
    architecture, at, _ = name.partition("@")
    return f"{architecture} ({position + 1})" if at else name
