"""The page of a comparison: the table, what is behind each of its numbers, and the runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jkd.report import panel, table
from jkd.report.page import cells, charts, document, standing
from jkd.report.page.document import Plot, Section, canvas, note, text
from jkd.report.results import Result, Row, rows
from jkd.report.table import Published

FILE = "report.html"
_MEAN, _SINGLE = "mean over seeds", "single runs"  # what can be shown of accuracy
_ALIKE = 1e-4  # weights that never differ by more are equal, and there is nothing to see


def write(
    path: Path,
    results: Sequence[Result],
    baseline: str,
    facts: Mapping[str, str],
    published: Mapping[str, Published],
    *,
    seconds: int | None = None,
) -> None:
    """Writes the page of a comparison, finished or not.

    Args:
        path: The file.
        results: The runs; those that know their folder are linked.
        baseline: The method that differences are to.
        facts: What must be known of how it was made, by name.
        published: By method, a paper's number.
        seconds: After how many the page loads itself again while runs go on.
    """
    again = None if all(result.finished for result in results) else seconds
    made = sections(path, results, baseline, facts, published)
    document.write(path, made[0].heading, made, seconds=again)


def sections(
    path: Path,
    results: Sequence[Result],
    baseline: str,
    facts: Mapping[str, str],
    published: Mapping[str, Published],
) -> list[Section]:
    """Returns what is on the page of a comparison; see `write`."""
    found = rows(results, baseline)
    begun = [result for result in results if any("test/top1" in record for record in result.records)]
    done = [result for result in results if result.summary is not None]
    known = {row.method: published[row.method] for row in found if row.method in published}
    made = [_head(results, found, baseline, facts, known)]
    if begun:
        made.append(_accuracy(begun))
    if done:
        made += standing.differences(found, results, baseline)
        made.append(standing.cost(found, baseline))
        made += _weights(done)
        made += standing.published(found, known)
    made.append(Section("The runs", cells.runs(results, path)))
    if facts:
        made.append(Section("How it was made", _facts(facts)))
    return made


def _head(
    results: Sequence[Result],
    found: Sequence[Row],
    baseline: str,
    facts: Mapping[str, str],
    published: Mapping[str, Published],
) -> Section:
    left = sum(not result.finished for result in results)
    counts = {"method": len(found), "seed": len({r.seed for r in results}), "run": len(results)}
    words = ", ".join(f"{count} {what}{'s' if count != 1 else ''}" for what, count in counts.items())
    words += f", {left} of them to come" if left else ""
    short = {name: facts[name] for name in ("Data", "Student", "Teachers", "Training") if name in facts}
    reading = "".join(note(sentence) for sentence in table.notes(results, found, baseline, published))
    body = (
        f'<p class="quiet">{text(words)}</p>{_facts(short)}'
        f"<h3>Test accuracy, and what it took</h3>{note('Press a heading to sort.')}"
        f"{cells.methods(results, found, baseline, published)}"
        f"<details><summary>How to read it</summary>{reading}</details>{cells.teachers(results)}"
    )
    title = ", ".join(row.method for row in found) if len(found) <= 4 else f"{len(found)} methods"
    student = f" for {facts['Student']}" if "Student" in facts else ""
    return Section(f"{title} compared{student}", body)


def _facts(facts: Mapping[str, str]) -> str:
    lines = "".join(f"<tr><th>{text(k)}</th><td>{text(v)}</td></tr>" for k, v in facts.items())
    return f'<table class="facts"><tbody>{lines}</tbody></table>'


def _switch(name: str, title: str, values: Mapping[str, bool], plot: str) -> str:
    """Returns a row of switches: one that is off hides what has its value in the trace's `meta`.

    Args:
        name: The entry of `meta`.
        title: What stands before the switches.
        values: By value, whether it is on at first.
        plot: Whose traces.
    """
    labels = "".join(
        f'<label><input type="checkbox" name="{name}" value="{text(value)}"{" checked" if on else ""}>'
        f"{text(value)}</label>"
        for value, on in values.items()
    )
    return f'<fieldset class="switch" data-plots="{plot}"><legend>{title}</legend>{labels}</fieldset>'


def _over_seeds(results: Sequence[Result], method: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the epochs `[n]` that all runs of a method have, and values `[seeds, n, ...]`."""
    found = [panel.series(result.records, name) for result in results if result.method == method]
    shared = min(len(epochs) for epochs, _ in found)
    return found[0][0][:shared], np.stack([values[:shared] for _, values in found])


def _names(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(result.method for result in results))


def _accuracy(results: Sequence[Result]) -> Section:
    traces: list[charts.Trace] = []
    levels, means, longest = [], [], np.array([1])
    for index, method in enumerate(_names(results)):
        epochs, values = _over_seeds(results, method, "test/top1")
        longest = max(longest, epochs, key=len)
        mean, drawn, meta = values.mean(0), charts.look(index), {"method": str(method)}
        means += mean.tolist()
        if len(values) > 1:
            std = values.std(0, ddof=1)
            low, high = (mean - std).clip(0), (mean + std).clip(max=1)
            of = meta | {"show": _MEAN}
            traces.append(charts.band(epochs, low, high, drawn["color"], meta=of, legendgroup=method))
        of = meta | {"show": _MEAN}
        traces.append(charts.line(method, epochs, mean, drawn, percent=True, meta=of, legendgroup=method))
        for result in (result for result in results if result.method == method):
            at, top1 = panel.series(result.records, "test/top1")
            thin = {"color": drawn["color"] + "/0.65", "width": 1, "dash": drawn["dash"]}
            of = meta | {"seed": str(result.seed), "show": _SINGLE}
            name = f"{method}, seed {result.seed}"
            traces.append(
                charts.line(name, at, top1, thin, percent=True, meta=of, legendgroup=method, showlegend=False)
            )
    for name, row in table.teachers(results).items():
        levels.append(row["top1"])
        drawn = {"color": "@quiet", "dash": "dash" if "ensemble" in name else "dot", "width": 1}
        traces.append(charts.level(name, longest, row["top1"], drawn, meta={"show": "teachers"}))
    plot = {
        "data": traces,
        "layout": charts.over_epochs(
            "test accuracy over epochs", len(longest), yaxis=charts.zoomed(means, levels)
        ),
    }
    shown = {_MEAN: True, _SINGLE: False} | ({"teachers": True} if levels else {})
    seeds = [str(seed) for seed in sorted({result.seed for result in results})]
    switches = "".join(
        _switch(name, title, values, "accuracy")
        for name, title, values in (
            ("method", "methods", dict.fromkeys(_names(results), True)),
            ("show", "shown", shown),
            ("seed", "seeds", dict.fromkeys(seeds, True)),
        )
    )
    words = note(
        "A line is the mean over the seeds, its band one standard deviation to either side; switch on single "
        "runs to see the seeds. The axis begins where the steep beginning ends: a double click shows all."
    )
    return Section("Accuracy over epochs", switches + words + canvas("accuracy", 520), {"accuracy": plot})


def _weights(results: Sequence[Result]) -> list[Section]:
    plots: dict[str, Plot] = {}
    for method in _names(results):
        own = [result for result in results if result.method == method]
        for name in panel.names_of_weights([record for result in own for record in result.records]):
            epochs, values = _over_seeds(own, method, name)
            if np.ptp(values) <= _ALIKE:
                continue
            rated = own[0].summary["teachers"] if own[0].summary else []
            traces: list[charts.Trace] = []
            for place in range(values.shape[-1]):
                mean, drawn = values[..., place].mean(0), charts.look(place)
                if len(values) > 1:
                    std = values[..., place].std(0, ddof=1)
                    low, high = (mean - std).clip(0), (mean + std).clip(max=1)
                    traces.append(charts.band(epochs, low, high, drawn["color"], legendgroup=f"t{place}"))
                known = panel.teacher_label(rated[place]["name"], place) if rated else f"teacher {place + 1}"
                traces.append(charts.line(known, epochs, mean, drawn, legendgroup=f"t{place}"))
            kind = name.removeprefix(panel.WEIGHTS).replace("_", " ")
            title = f"{method}: weights of {kind}"
            layout = charts.over_epochs(title, len(epochs))
            plots[f"weights_{len(plots)}"] = {"data": traces, "layout": layout}
    if not plots:
        return []
    words = note(
        "Means over the seeds of an epoch's mean weight; a band is one standard deviation over the seeds."
    )
    body = f'{words}<div class="pair">{"".join(canvas(name, 340) for name in plots)}</div>'
    return [Section("Who is listened to", body, plots)]
