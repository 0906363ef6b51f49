"""Sections about single classes and images: `tested.json` of a run, as a page shows it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jkd.report import panel
from jkd.report.page import charts
from jkd.report.page.document import Section, canvas, note, number, text

_KINDS = {
    "lost": "The ensemble is right, the student is not",
    "won": "The student is right, the ensemble is not",
}


def sections(tested: Mapping[str, Any], classes: Sequence[str] | None, summary: Any) -> list[Section]:
    """Returns the sections of single classes, of confidence and of images.

    Args:
        tested: What student and teachers said, as `jkd.distillation.tested` keeps it.
        classes: Names of the classes, where known.
        summary: The run's, where it is finished.
    """
    labels = class_names(classes, len(tested["classes"]))
    who = [row["name"] for row in tested["who"]]
    shown = [who[0], *(panel.teacher_label(name, k) for k, name in enumerate(who[1:-1])), *who[1:][-1:]]
    return [
        _per_class(tested, labels, shown),
        _reliability(tested, shown, summary),
        _images(tested, labels, shown),
    ]


def class_names(classes: Sequence[str] | None, count: int) -> list[str]:
    """Returns names of the classes, their numbers where they have none; two of one name are told apart."""
    return apart([str(name) for name in classes] if classes else [str(number) for number in range(count)])


def apart(names: Sequence[str]) -> list[str]:
    """Returns names of which no two are the same, for an axis that has a place for each."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    return [name if seen[name] == 1 else f"{name} ({k + 1})" for k, name in enumerate(names)]


def heat(values: Any, columns: Sequence[str], rows: Sequence[str]) -> charts.Trace:
    """Returns a heat map of shares, with their numbers in it where there is room."""
    few = len(columns) <= 24
    return {
        "type": "heatmap",
        "z": [charts.numbers(row) for row in np.asarray(values)],
        "x": list(columns),
        "y": list(rows),
        "zmin": 0,
        "zmax": 1,
        "colorscale": "Cividis",
        "xgap": 1,
        "ygap": 1,
        "hovertemplate": "class %{x}<br>%{y}: %{z:.1%}<extra></extra>",
        "colorbar": {"tickformat": ".0%", "thickness": 12, "outlinewidth": 0},
    } | ({"texttemplate": "%{z:.0%}", "textfont": {"size": 10}} if few else {})


def _per_class(tested: Mapping[str, Any], labels: list[str], shown: list[str]) -> Section:
    counts = np.asarray(tested["classes"], np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracies = [np.asarray(row["right"]) / counts for row in tested["who"]]
    order = np.argsort(np.where(np.isnan(accuracies[0]), 2, accuracies[0]), kind="stable")
    names = [labels[k] for k in order]
    traces: list[charts.Trace] = []
    for place, (name, values) in enumerate(zip(shown, accuracies, strict=True)):
        common = {
            "x": names,
            "y": charts.numbers(values[order]),
            "name": name,
            "hovertemplate": "%{y:.1%}",
        }
        if place == 0:
            traces.append({"type": "bar", "marker": {"color": "@ink/0.3"}} | common)
            continue
        last = place == len(shown) - 1
        colour = "@quiet" if last else charts.look(place - 1)["color"]
        marker = {"color": colour, "size": 10 if last else 8, "symbol": "line-ew-open" if last else "circle"}
        marker |= {"line": {"width": 2}} if last else {}
        more = {"visible": "legendonly"} if len(labels) > 60 and not last else {}
        traces.append({"type": "scatter", "mode": "markers", "marker": marker} | common | more)
    plot = {
        "data": traces,
        "layout": {
            "title": "accuracy on the test images of each class, hardest for the student first",
            "xaxis": {"type": "category"},
            "yaxis": charts.PERCENT | {"rangemode": "tozero"},
            "hovermode": "x unified",
            "bargap": 0.25,
        },
    }
    least = int(counts.min())
    words = note(f"Bars are the student's. A class has {least:,} to {int(counts.max()):,} test images.")
    return Section("Single classes", words + canvas("per_class", 440), {"per_class": plot})


def _reliability(tested: Mapping[str, Any], shown: list[str], summary: Any) -> Section:
    ends = {"color": "@quiet", "dash": "dot", "width": 1}
    traces = [charts.line("as sure as right", [0, 1], [0, 1], ends, hoverinfo="skip")]
    for place, (name, row) in enumerate(zip(shown, tested["who"], strict=True)):
        images, right, confidence = (
            np.asarray(row["bins"][k], float) for k in ("images", "right", "confidence")
        )
        some = images > 0
        ensemble = place == len(shown) - 1 and place > 0
        colour = "@ink" if place == 0 else "@quiet" if ensemble else charts.look(place - 1)["color"]
        share = images[some] / images.sum()
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": charts.numbers(confidence[some] / images[some]),
                "y": charts.numbers(right[some] / images[some]),
                "customdata": images[some].astype(int).tolist(),
                "line": {"color": colour, "width": 1.4},
                "marker": {"color": colour, "size": charts.numbers(5 + 20 * np.sqrt(share))},
                "hovertemplate": "sure %{x:.1%}, right %{y:.1%}, %{customdata} images",
            }
            | ({} if place == 0 or ensemble else {"visible": "legendonly"})
        )
    plot = {
        "data": traces,
        "layout": {
            "title": "share of right answers where it is so sure",
            "xaxis": charts.PERCENT | {"range": [0, 1.02], "title": {"text": "confidence"}},
            "yaxis": charts.PERCENT | {"range": [0, 1.05]},
            "legend": {"y": -0.2},
        },
    }
    error = ""
    if summary:
        value = summary["last"]["test/ece"]
        error = f"<p>Calibration error of the student: {number('last.test/ece', value, f'{value:.4f}')}.</p>"
    words = note(
        "The test images in 15 bins of the confidence (the probability of the answer), as the calibration "
        "error has them; a larger dot is more images. Below the diagonal one is surer than right."
    )
    return Section(
        "Is it as sure as it is right?",
        error + words + canvas("reliability", 480, "square"),
        {"reliability": plot},
    )


def _images(tested: Mapping[str, Any], labels: list[str], shown: list[str]) -> Section:
    parts = []
    total = int(np.sum(tested["classes"]))
    alone = len(shown) == 1
    for kind, found in tested["parted"].items():
        heading = "The student is wrong" if alone else _KINDS[kind]
        by = "ensemble" if kind == "won" else "student"
        images = "".join(_card(one, labels, shown) for one in found["shown"])
        few = (
            f"the {len(found['shown'])} that the {by} is surest of"
            if found["images"] > len(found["shown"])
            else "all"
        )
        words = f"{found['images']:,} of {total:,} test images" + (
            f"; {few} are here" if found["images"] else ""
        )
        parts.append(f'<h3>{heading}</h3>{note(words + ".")}<div class="images">{images}</div>')
    heading = "Where the student errs" if alone else "Where student and teachers part ways"
    return Section(heading, "".join(parts))


def _card(one: Mapping[str, Any], labels: list[str], shown: list[str]) -> str:
    lines = []
    for name, (answer, sure) in zip(shown, one["said"], strict=True):
        kind = "right" if answer == one["label"] else "wrong"
        lines.append(
            f'<div class="said"><span>{text(name)}</span>'
            f'<span class="{kind}">{text(labels[answer])} {sure:.0%}</span></div>'
        )
    label = text(labels[one["label"]])
    return (
        f'<div class="image"><img alt="a test image of class {label}" '
        f'src="data:image/png;base64,{one["image"]}"><div><b>{label}</b>{"".join(lines)}</div></div>'
    )
