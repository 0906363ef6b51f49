"""The page of a run: what came of it, how, and how to do it again."""

import json
from pathlib import Path
from typing import Any

from jkd.machine import files
from jkd.report import panel
from jkd.report.page import answers, charts, document, listening
from jkd.report.page.document import Section, canvas, note, number, text
from jkd.run import Contents

FILE = "report.html"
_TESTED = "tested.json"
_FIRST = ("train/loss", "train/ce", "test/loss")  # losses that are shown from the beginning


def write(run: Contents, *, seconds: int | None = None) -> Path:
    """Writes `report.html` into a run's folder: of a finished run, or of what there is of it.

    Args:
        run: The run.
        seconds: After how many the page loads itself again while the run goes on.

    Raises:
        jkd.UserError: a file of the folder is damaged.
    """
    path = run.folder / FILE
    document.write(path, _title(run), sections(run), seconds=None if run.summary else seconds)
    return path


def sections(run: Contents) -> list[Section]:
    """Returns what is on the page of a run."""
    tested = run.folder / _TESTED
    found = files.read_json(tested) if tested.exists() else None
    classes = run.config["dataset"].get("classes")
    records = [record for record in run.records if "test/top1" in record]
    rated, ensemble = _rating(run)
    names = [panel.teacher_label(row["name"], k) for k, row in enumerate(rated)]
    made = [_head(run, records, rated, ensemble)]
    if records:
        made.append(_progress(records, rated, names, ensemble))
        made += listening.sections(records, names, classes)
    if found is not None:
        made += answers.sections(found, classes, run.summary)
    return [*made, _origin(run)]


def _title(run: Contents) -> str:
    return f"{run.config['student']} by {run.config['method']} on {run.config['dataset']['name']}"


def _rating(run: Contents) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Returns what the teachers and their ensemble are worth, also of a run that goes on."""
    if run.summary:
        return run.summary["teachers"], run.summary["ensemble"]
    begun = run.folder / "teachers.json"
    if not begun.exists():
        return [], {}
    known = files.read_json(begun)
    return known["teachers"], known.get("ensemble", {})


def _head(run: Contents, records: Any, rated: list[dict[str, Any]], ensemble: dict[str, Any]) -> Section:
    summary = run.summary
    epochs = run.config["recipe"]["epochs"]
    state = (
        f"finished after {epochs} epochs"
        if summary
        else f"going on: epoch {len(records)} of {epochs} is done"
    )
    tiles = []

    def tile(name: str, value: float, shown: str, of: str, first: bool = False) -> None:
        kind = "tile first" if first else "tile"
        tiles.append(
            f'<div class="{kind}"><b>{number(name, value, shown)}</b><span class="of">{text(of)}</span></div>'
        )

    last = summary["last"] if summary else (records[-1] if records else {})
    if last:
        of = f"test top-1, last epoch ({last['epoch']})"
        tile("last.test/top1", last["test/top1"], f"{last['test/top1']:.2%}", of, first=True)
    if ensemble:
        tile("ensemble.top1", ensemble["top1"], f"{ensemble['top1']:.2%}", "the teachers' ensemble, top-1")
    if last:
        tile("last.test/top5", last["test/top5"], f"{last['test/top5']:.2%}", "test top-5")
        tile("last.test/ece", last["test/ece"], f"{last['test/ece']:.4f}", "calibration error")
        tile("last.test/loss", last["test/loss"], f"{last['test/loss']:.3f}", "test loss, nats")
    if last and "test/agreement" in last:
        share = last["test/agreement"]
        tile("last.test/agreement", share, f"{share:.2%}", "agreement with the ensemble's vote")
    if summary:
        best = summary["best"]
        of = f"best epoch ({best['epoch']}), chosen on {best['chosen_on'].partition(',')[0]}"
        tile("best.test/top1", best["test/top1"], f"{best['test/top1']:.2%}", of)
        for name, of in (("parameters", "parameters"), ("multiply_adds", "multiply-adds for an image")):
            if name in summary:
                tile(name, summary[name], f"{summary[name]:,}", of)
        speed = summary["time/images_per_second"]
        tile("time/images_per_second", speed, f"{speed:,.0f}", "images a second in training")
    body = (
        f'<p class="quiet">{text(run.folder.name)}, seed {text(run.config["seed"])}; {text(state)}</p>'
        f'<div class="tiles">{"".join(tiles)}</div>{_teachers(rated, ensemble)}'
    )
    notes = [] if not summary else summary.get("notes", [])
    return Section(_title(run), body + "".join(note(f"Note: {words}") for words in notes))


def _teachers(rated: list[dict[str, Any]], ensemble: dict[str, Any]) -> str:
    if not rated:
        return note("There are no teachers: the student learns from the labels alone.")
    columns = {"top1": "top-1", "top5": "top-5", "loss": "loss", "ece": "calibration error"}
    rows = []
    for place, row in enumerate([*rated, {"name": "ensemble"} | ensemble]):
        called = "ensemble" if place == len(rated) else f"teachers.{place}"
        cells = []
        for name in columns:
            if name not in row:
                cells.append('<td data-sort="">–</td>')
                continue
            shown = f"{row[name]:.2%}" if name.startswith("top") else f"{row[name]:.4f}"
            value = number(f"{called}.{name}", row[name], shown)
            cells.append(f'<td data-sort="{row[name]}">{value}</td>')
        rows.append(f'<tr><td data-sort="{text(row["name"])}">{text(row["name"])}</td>{"".join(cells)}</tr>')
    head = "".join(f"<th>{name}</th>" for name in ["teacher", *columns.values()])
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _progress(records: Any, rated: Any, names: list[str], ensemble: dict[str, Any]) -> Section:
    words = note(
        "Press a name to hide or show its line; two quick presses show it alone. The axis of accuracies "
        "begins where the steep beginning ends: a double click, or a double tap, shows all."
    )
    body = f'{words}<div class="pair">{canvas("accuracy", 420)}{canvas("loss", 420)}</div>'
    plots = {"accuracy": _accuracy(records, rated, names, ensemble), "loss": _losses(records)}
    return Section("Accuracy and losses", body, plots)


def _accuracy(records: Any, rated: Any, names: list[str], ensemble: dict[str, Any]) -> document.Plot:
    epochs, top1 = panel.series(records, "test/top1")
    traces = [charts.line("student", epochs, top1, {"color": "@ink", "width": 2.4}, percent=True)]
    levels = []
    for name, label, shown in (
        ("validation/top1", "student, validation", True),
        ("train/top1", "student, training", "legendonly"),
        ("test/agreement", "agreement with the ensemble", "legendonly"),
    ):
        at, values = panel.series(records, name)
        if len(at):
            dots = {"color": "@4" if "agreement" in name else "@quiet", "dash": "dot", "width": 1.2}
            traces.append(charts.line(label, at, values, dots, percent=True, visible=shown))
    for place, row in enumerate(rated):
        if row.get("top1") is not None:
            levels.append(row["top1"])
            traces.append(charts.level(names[place], epochs, row["top1"], charts.look(place)))
    if "top1" in ensemble:
        levels.append(ensemble["top1"])
        dashes = {"color": "@quiet", "dash": "dash"}
        traces.append(charts.level("ensemble", epochs, ensemble["top1"], dashes))
    axis = charts.zoomed(top1.tolist(), levels)
    return {
        "data": traces,
        "layout": charts.over_epochs("test accuracy over epochs", len(epochs), yaxis=axis),
    }


def _losses(records: Any) -> document.Plot:
    traces: list[charts.Trace] = []
    for name in sorted({name for record in records for name in record}, key=_order):
        if not _is_loss(name, records):
            continue
        at, values = panel.series(records, name)
        drawn = {"color": "@ink"} if name == "test/loss" else charts.look(len(traces))
        called = {"train/loss": "training", "test/loss": "test"}.get(name, name.replace("/", "ing, "))
        shown = True if name in _FIRST else "legendonly"
        traces.append(charts.line(called, at, values, drawn, visible=shown))
    axis = {"type": "log"}
    return {"data": traces, "layout": charts.over_epochs("losses over epochs", len(records), yaxis=axis)}


def _is_loss(name: str, records: Any) -> bool:
    skipped = (panel.WEIGHTS, listening.BY_CLASS, "train/top1", "train/learning_rate")
    scalar = all(isinstance(record.get(name, 0.0), int | float) for record in records)
    of_loss = name == "test/loss" or (name.startswith("train/") and not name.endswith("_norm"))
    return scalar and of_loss and not name.startswith(skipped)


def _order(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _origin(run: Contents) -> Section:
    sessions = run.sessions
    first = sessions[0] if sessions else {}
    command = first.get("command", "not known")
    versions = first.get("versions", {}) | {"python": first.get("python", "?")}
    device = first.get("devices", {})
    facts = {
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "commit": first.get("commit") or "unknown",
        "device": f"{device.get('count', '?')} × {device.get('kind', '?')}",
        "starts": ", ".join(str(session.get("time")) for session in sessions),
    }
    settings = {name: json.dumps(value) for name, value in files.flat(run.config).items()}
    body = (
        "<h3>The command that makes it again</h3>"
        f"<pre>{text(command)}</pre>{_table(facts)}"
        f"<details><summary>The whole configuration</summary>{_table(settings)}</details>"
    )
    return Section("How it was made", body)


def _table(facts: dict[str, str]) -> str:
    rows = "".join(f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in facts.items())
    return f'<table class="facts"><tbody>{rows}</tbody></table>'
