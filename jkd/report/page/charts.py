"""Lines, bands and axes as Plotly takes them, in the page's own colours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Trace = dict[str, Any]
Layout = dict[str, Any]
COLOURS = 6  # of the style sheet
_DASHES = ("solid", "dash", "dot", "dashdot")
PERCENT = {"tickformat": ".4~p"}


def look(index: int) -> dict[str, Any]:
    """Returns colour and dashes of the line with that index."""
    return {"color": f"@{index % COLOURS}", "dash": _DASHES[index // COLOURS % len(_DASHES)]}


def numbers(values: Any) -> list[float]:
    """Returns an array as a list that is written with six digits."""
    return np.asarray(values, np.float64).tolist()


def line(name: str, x: Any, y: Any, drawn: Mapping[str, Any], *, percent: bool = False, **more: Any) -> Trace:
    """Returns a line, or a dot where there is one value."""
    x = np.asarray(x).tolist()
    return {
        "type": "scatter",
        "mode": "lines" if len(x) > 1 else "lines+markers",
        "name": name,
        "x": x,
        "y": numbers(y),
        "line": {"width": 1.8, **drawn},
        "hovertemplate": "%{y:.2%}" if percent else "%{y:.4g}",
    } | more


def band(x: Any, low: Any, high: Any, colour: str, **more: Any) -> Trace:
    """Returns the area between two lines."""
    x = np.asarray(x).tolist()
    return {
        "type": "scatter",
        "mode": "none",
        "x": x + x[::-1],
        "y": numbers(low) + numbers(high)[::-1],
        "fill": "toself",
        "fillcolor": f"{colour}/0.15",
        "hoverinfo": "skip",
        "showlegend": False,
    } | more


def level(name: str, x: Any, value: float, drawn: Mapping[str, Any], **more: Any) -> Trace:
    """Returns a level, such as a teacher's accuracy, beside lines over the same epochs."""
    x = np.asarray(x).tolist()
    ends = [x[0], x[-1]] if len(x) > 1 else [x[0] - 0.5, x[0] + 0.5]
    return line(name, ends, [value, value], {"width": 1.2, **drawn}, percent=True) | {"mode": "lines"} | more


def over_epochs(title: str, epochs: int, **more: Any) -> Layout:
    """Returns the layout of lines over epochs."""
    axis = {"tickformat": "d", "nticks": 8, "hoverformat": "d", "unifiedhovertitle": {"text": "epoch %{x}"}}
    few = {"dtick": 1} if epochs <= 8 else {}
    return {"title": title, "xaxis": axis | few, "hovermode": "x unified"} | more


def zoomed(values: Sequence[float], levels: Sequence[float] = ()) -> Layout:
    """Returns an axis of accuracies that begins after their steep beginning; a double click undoes it."""
    bottom = min([float(np.quantile(values, 0.15)), *levels])
    top = max([*values, *levels])
    margin = 0.05 * (top - bottom) + 1e-3
    return PERCENT | {"range": [bottom - margin, top + margin]}
