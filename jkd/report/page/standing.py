"""How the methods of a comparison stand to each other: differences, costs, and what papers report."""

import math
from collections.abc import Mapping, Sequence

from jkd.report.page import charts
from jkd.report.page.document import Plot, Section, canvas, note, text
from jkd.report.results import CONFIDENCE, Result, Row, by_seed
from jkd.report.table import Published


def differences(found: Sequence[Row], results: Sequence[Result], baseline: str) -> list[Section]:
    """Returns the section of paired differences, where there is one to show."""
    others = [row for row in found if row.method != baseline and row.difference.pairs]
    if not others:
        return []
    reference = by_seed(results, baseline, "last.test/top1")
    names = [row.method for row in others]
    traces: list[charts.Trace] = []
    for name, width, cap, which in (
        ("Holm-corrected interval", 1, 5, "corrected"),
        (f"{CONFIDENCE:.0%} interval", 3, 0, "difference"),
    ):
        of = [getattr(row, which) for row in others]
        if max(one.pairs for one in of) > 1:
            means = [100 * one.mean for one in of]
            reach = [100 * (one.high - one.mean) if one.pairs > 1 else None for one in of]
            error = {"type": "data", "array": reach, "thickness": width, "width": cap, "color": "@0"}
            marker = {"color": "@0", "size": 10, "symbol": "line-ew-open", "line": {"width": width}}
            hover = f"%{{y}}: {name}, %{{x:+.2f}} ± %{{error_x.array:.2f}}<extra></extra>"
            traces.append(
                {"type": "scatter", "mode": "markers", "name": name, "x": means, "y": names}
                | {"error_x": error, "marker": marker, "hovertemplate": hover}
            )
    pairs = [
        (row.method, seed, 100 * (ours[seed] - reference[seed]))
        for row in others
        for ours in [by_seed(results, row.method, "last.test/top1")]
        for seed in sorted(ours.keys() & reference.keys())
    ]
    dots = {"color": "@ink/0.45", "size": 7}
    seeds = [str(seed) for _, seed, _ in pairs]
    traces += [
        {"type": "scatter", "mode": "markers", "name": "a seed", "marker": dots, "customdata": seeds}
        | {"x": [value for *_, value in pairs], "y": [name for name, *_ in pairs]}
        | {"hovertemplate": "%{y}, seed %{customdata}: %{x:+.2f}<extra></extra>"},
        {
            "type": "scatter",
            "mode": "markers",
            "name": "mean",
            "marker": {"color": "@1", "size": 10, "symbol": "diamond"},
        }
        | {"x": [100 * row.difference.mean for row in others], "y": names}
        | {"hovertemplate": "%{y}: mean %{x:+.2f}<extra></extra>"},
    ]
    plot = {
        "data": traces,
        "layout": {
            "title": f"points of top-1, last epoch, against {baseline}",
            "xaxis": {"zeroline": True, "zerolinewidth": 2, "tickformat": "+.4~r"},
            "yaxis": {"type": "category", "autorange": "reversed"},
            "legend": {"y": -0.5 if len(others) < 4 else -0.2},
        },
    }
    body = note("Paired by seed; each interval stands alone, the corrected ones do not mislead together.")
    return [
        Section(
            f"Differences to {baseline}",
            body + canvas("differences", 150 + 34 * len(others)),
            {"differences": plot},
        )
    ]


def cost(found: Sequence[Row], baseline: str) -> Section:
    """Returns accuracy against each cost in which the methods differ, the time of a step in any case."""
    costs = {
        f"time of a training step, × {baseline}": [row.relative_time for row in found],
        "memory of a training step, MiB": [row.step_bytes / 2**20 for row in found],
        "multiply-adds of the student for an image": [float(row.multiply_adds) for row in found],
        "parameters of the student": [float(row.parameters) for row in found],
    }
    plots: dict[str, Plot] = {}
    for number, (name, values) in enumerate(costs.items()):
        there = [k for k, row in enumerate(found) if row.finished and not math.isnan(values[k])]
        if not there or (number and len({values[k] for k in there}) == 1):
            continue
        middle = (min(values[k] for k in there) + max(values[k] for k in there)) / 2
        traces = [_point(found[k], values[k], k, middle) for k in there]
        layout = {
            "title": f"top-1 against {name}",
            "yaxis": charts.PERCENT,
            "xaxis": {"rangemode": "normal"},
            "showlegend": False,
        }
        plots[f"cost_{number}"] = {"data": traces, "layout": layout}
    same = "" if "cost_2" in plots else " The student costs the same whichever method trained it."
    body = note(f"Up and to the left is better; strokes are one standard deviation over the seeds.{same}")
    body += f'<div class="pair">{"".join(canvas(name, 380) for name in plots)}</div>'
    return Section("Cost against accuracy", body, plots)


def _point(row: Row, value: float, index: int, middle: float) -> charts.Trace:
    std = None if math.isnan(row.top1.std) else row.top1.std
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": row.method,
        "text": [row.method],
        "textposition": "middle left" if value > middle else "middle right",
        "cliponaxis": False,
        "x": [value],
        "y": [row.top1.mean],
        "error_y": {"type": "data", "array": [std], "thickness": 1, "width": 3},
        "marker": {"color": charts.look(index)["color"], "size": 10},
        "hovertemplate": f"{text(row.method)}: %{{y:.2%}} at %{{x:.4~s}}<extra></extra>",
    }


def published(found: Sequence[Row], said: Mapping[str, Published]) -> list[Section]:
    """Returns the section of published numbers beside the measured ones, where there are some."""
    both = [row for row in found if row.method in said and row.finished]
    if not both:
        return []
    names = [row.method for row in both]
    stds = [None if math.isnan(row.top1.std) else 100 * row.top1.std for row in both]
    common = {"type": "scatter", "mode": "markers", "y": names}
    traces = [
        common
        | {"name": "published", "x": [said[name].top1 for name in names]}
        | {"marker": {"color": "@1", "size": 11, "symbol": "diamond-open", "line": {"width": 2}}}
        | {"customdata": [str(said[name]) for name in names], "hovertemplate": "%{customdata}"},
        common
        | {
            "name": "measured",
            "x": [100 * row.top1.mean for row in both],
            "marker": {"color": "@0", "size": 10},
        }
        | {"error_x": {"type": "data", "array": stds, "thickness": 1.5, "width": 3, "color": "@0"}}
        | {"hovertemplate": "%{x:.2f} %"},
    ]
    layout = {"title": "test top-1, %", "yaxis": {"type": "category", "autorange": "reversed"}}
    listed = "".join(note(f"{name}: {said[name]}") for name in names)
    body = canvas("published", 150 + 34 * len(both)) + listed
    return [Section("Published beside measured", body, {"published": {"data": traces, "layout": layout}})]
