"""Who was listened to in a comparison: read from the folders of its runs, finished ones alone."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from jkd import run as run_folder
from jkd.comparison.reopened import CELL
from jkd.errors import UserError, nearest
from jkd.flags import Flag, resolve
from jkd.machine import files
from jkd.report import heatmap, listening
from jkd.report.listening import Listener
from jkd.report.results import Result
from jkd.run import Contents


@dataclasses.dataclass(frozen=True)
class Listening:
    """Listening: whose weights are reported."""

    comparison: Annotated[str, Flag("the folder of a comparison")] = ""
    suspects: Annotated[
        tuple[int, ...], Flag("places in --teachers, from 1, of those that should not be listened to")
    ] = ()
    without: Annotated[
        str | None, Flag("the folder of the same comparison with the suspects left out", default="none")
    ] = None
    uniform: Annotated[
        tuple[str, ...],
        Flag(
            "the row with uniform weights that others are held against whose method has none, or ROW=UNIFORM "
            "for one"
        ),
    ] = ()


def report(settings: Listening) -> str:
    """Writes `listening.md` into the comparison's folder, and `listening.png` where teachers are experts.

    Returns:
        The table.

    Raises:
        UserError: a folder is no comparison's, or the suspects are not those that the other one lacks.
    """
    settings = Listening(**resolve(Listening, vars(settings)))
    if not settings.comparison:
        raise UserError("--comparison= is empty; give the folder of a comparison, its --workdir")
    folder = Path(settings.comparison)
    rows, teachers, config = _read(folder, "--comparison")
    for place in settings.suspects:
        if not 1 <= place <= len(teachers):
            raise UserError(f"--suspects={place}: there are teachers 1 to {len(teachers)}")
    uniform = {row: even for row, _, even in (text.rpartition("=") for text in settings.uniform)}
    for name in filter(None, [*uniform, *uniform.values()]):
        if name not in (there := [row.name for row in rows]):
            raise UserError(
                f"--uniform={','.join(settings.uniform)}: {name} is no finished row{nearest(name, there)}; "
                f"there are {', '.join(there)}"
            )
    suspects = [place - 1 for place in settings.suspects]
    facts = {"Teachers": ", ".join(f"{name} ({top1:.1%})" for name, top1 in teachers)}
    names = [name for name, _ in teachers]
    without: dict[str, Listener] = {}
    if settings.without:
        others, left, _ = _read(Path(settings.without), "--without")
        expected = [name for place, name in enumerate(names) if place not in suspects]
        if [name for name, _ in left] != expected:
            raise UserError(
                f"--without={settings.without} has the teachers {', '.join(name for name, _ in left)}; "
                f"those of {folder} without the suspects are {', '.join(expected)}"
            )
        without = {row.name: row for row in others}
    if suspects:
        facts["Suspects"] = ", ".join(names[place] for place in suspects)
    classes = config["dataset"]["num_classes"]
    experts = listening.expertise(names, classes)
    measured = listening.measure(rows, suspects, without, uniform, experts)
    text = listening.markdown(measured, names, facts)
    files.write(folder / "listening.md", text)
    if experts is not None:
        figure = heatmap.draw(rows, names, experts, config["dataset"]["classes"])
        files.replace(folder / "listening.png", partial(figure.savefig, format="png"))
    return text


def _read(folder: Path, flag: str) -> tuple[list[Listener], list[tuple[str, float]], dict[str, Any]]:
    """Returns the finished rows in the order they were begun, the teachers with their accuracies, and the
    configuration of a run that has some."""
    runs: dict[str, dict[int, Contents]] = {}
    for path in sorted(folder.glob("*-seed*")):
        cell = CELL.fullmatch(path.name)
        if cell is None or not (path / "config.json").exists():
            continue
        contents = run_folder.read(path)
        if contents.summary is None:
            continue
        seeds = runs.setdefault(cell["row"], {})
        seed = contents.config["seed"]
        if seed in seeds:
            raise UserError(
                f"{flag}={folder}: there are two runs of {cell['row']} with seed {seed}, "
                f"{seeds[seed].folder.name} and {path.name}; move the one that is not meant elsewhere"
            )
        seeds[seed] = contents
    taught = [c for seeds in runs.values() for c in seeds.values() if c.summary and c.summary["teachers"]]
    if not taught:
        raise UserError(
            f"{flag}={folder} has no finished run with teachers; give the --workdir of a comparison"
        )
    assert taught[0].summary is not None
    rated = [(row["name"], row["top1"]) for row in taught[0].summary["teachers"]]
    rows = [
        Listener(
            row,
            next(iter(seeds.values())).config["method"],
            tuple(Result(row, seed, seeds[seed].records, seeds[seed].summary) for seed in sorted(seeds)),
        )
        for row, seeds in sorted(runs.items(), key=lambda item: min(map(_begun, item[1].values())))
    ]
    return rows, rated, taught[0].config


def _begun(contents: Contents) -> str:
    return str(contents.sessions[0]["time"]) if contents.sessions else ""
