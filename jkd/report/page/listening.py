"""Sections about who is listened to: the teachers' weights over the epochs, and of each class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jkd.report import panel
from jkd.report.page import answers, charts
from jkd.report.page.document import Section, canvas, note

BY_CLASS = "train/class_weight_"
Records = Sequence[dict[str, Any]]


def sections(records: Records, names: Sequence[str], classes: Sequence[str] | None) -> list[Section]:
    """Returns the sections of a run whose method weighs its teachers, else none.

    Args:
        records: One per epoch.
        names: The teachers' labels.
        classes: Names of the classes, where known.
    """
    return [*_over_epochs(records, names), *_per_class(records, names, classes)]


def _over_epochs(records: Records, names: Sequence[str]) -> list[Section]:
    plots: dict[str, Any] = {}
    spread = False
    for name in panel.names_of_weights(records):
        epochs, means = panel.series(records, name)
        _, deviations = panel.series(records, f"{name}_std")
        traces: list[charts.Trace] = []
        for place, mean in enumerate(means.T):
            label = names[place] if place < len(names) else f"teacher {place + 1}"
            drawn, group = charts.look(place), f"t{place}"
            if len(deviations) == len(means):
                spread = True
                low, high = mean - deviations[:, place], mean + deviations[:, place]
                area = charts.band(epochs, low.clip(0), high.clip(max=1), drawn["color"], legendgroup=group)
                traces.append(area)
            traces.append(charts.line(label, epochs, mean, drawn, legendgroup=group))
        even = {"color": "@quiet", "dash": "dot", "width": 1}
        traces.append(charts.level("even", epochs, 1 / means.shape[1], even, hoverinfo="skip"))
        kind = name.removeprefix(panel.WEIGHTS).replace("_", " ")
        plots[f"weights_{len(plots)}"] = {
            "data": traces,
            "layout": charts.over_epochs(f"weights of the teachers' {kind}", len(epochs)),
        }
    if not plots:
        return []
    words = "A line is the mean weight of an epoch, and all teachers' are 1 together; dotted: all alike."
    if spread:
        words += (
            " A band is one standard deviation over the examples of a batch to either side, averaged over "
            "the epoch: a wide one means that examples differ in whom they listen to."
        )
    else:
        words += " There are no bands: every example listens to the same teachers."
    body = f'{note(words)}<div class="pair">{"".join(canvas(name, 380) for name in plots)}</div>'
    return [Section("Who is listened to", body, plots)]


def _per_class(records: Records, names: Sequence[str], classes: Sequence[str] | None) -> list[Section]:
    plots: dict[str, Any] = {}
    last = records[-1]
    for name in sorted(name for name in last if name.startswith(BY_CLASS)):
        parts = np.asarray(last[name], np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = parts / parts.sum(0, keepdims=True)
        kind = name.removeprefix(BY_CLASS).replace("_", " ")
        labels = answers.class_names(classes, shares.shape[1])
        rows = [f"{label}\u2009" for label in names] or [f"teacher {k + 1}" for k in range(len(shares))]
        plots[f"classes_{len(plots)}"] = {
            "data": [answers.heat(shares, labels, answers.apart(rows))],
            "layout": {
                "title": f"weights of the teachers' {kind}, last epoch",
                "xaxis": {"title": {"text": "class"}, "type": "category", "showgrid": False},
                "yaxis": {"autorange": "reversed", "showgrid": False, "type": "category"},
            },
        }
    if not plots:
        return []
    words = note(
        "How the training images of a class divide their weight among the teachers: a column's shares are 1 "
        "together. An even map means that the class makes no difference."
    )
    height = 150 + 34 * max(len(names), 2)
    body = words + "".join(canvas(name, height) for name in plots)
    return [Section("Who is listened to, per class", body, plots)]
