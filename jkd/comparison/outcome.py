"""What a comparison leaves: tables, with all that must be known to read them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jkd import provenance
from jkd.comparison import reopened
from jkd.comparison.cells import Cell
from jkd.comparison.reopened import Comparison
from jkd.machine import files
from jkd.planning.plan import Plan
from jkd.planning.recipe import nesterov
from jkd.report import table
from jkd.report.results import Row, rows
from jkd.report.table import Published


class Table(NamedTuple):
    """What a comparison found; shown as Markdown in a notebook.

    `rows` are the methods' statistics over seeds, `folder` has everything, each run's folder too.
    """

    folder: Path
    rows: list[Row]
    markdown: str

    def __str__(self) -> str:
        """Returns the table in Markdown."""
        return self.markdown

    def _repr_markdown_(self) -> str:
        return self.markdown


def write(
    folder: Path,
    cells: Sequence[Cell],
    baseline: str,
    published: Mapping[str, Published],
    more: Mapping[str, str],
) -> Table:
    """Writes the tables of what there is of the runs into a comparison's folder, and returns the first.

    Args:
        folder: The comparison's.
        cells: Its runs.
        baseline: The method that differences are to.
        published: By method, a paper's number.
        more: What else is said above the table, by name.
    """
    results = [cell.read() for cell in cells]
    found = rows(results, baseline)
    facts = _facts(cells) | dict(more) | _origin()
    text = table.markdown(results, found, baseline, facts, published)
    files.write(folder / "table.md", text)
    files.write(folder / "table.csv", table.comma_separated(found, published))
    files.write(folder / "runs.csv", table.comma_separated_runs(results))
    comparison = Comparison(folder, results, baseline, facts, published)
    reopened.keep(comparison)
    reopened.write_page(comparison)
    return Table(folder, found, text)


def _facts(cells: Sequence[Cell]) -> dict[str, str]:
    plan = next((cell.plan for cell in cells if cell.plan.teachers), cells[0].plan)
    dataset, recipe = plan.job.dataset, plan.experiment.recipe
    alone = nesterov(recipe, plan.experiment.teachers, taught=False)
    names = [
        row.get("name", "") + (f" ({row['epochs']} epochs)" if "epochs" in row else "")
        for row in plan.identity["teachers"]
    ]
    facts = {
        "Data": f"{dataset.name}: {len(dataset.train_images):,} training images; accuracies are on its "
        f"test split, {len(dataset.test_images):,} images of {dataset.num_classes} classes",
        "Held out": _held_out(plan),
        "Student": plan.identity["student"],
        "Teachers": ", ".join(names) or "none",
        "Training": f"{recipe.epochs} epochs, batches of {recipe.batch_size}, {recipe.dtype}, "
        + ("AdamW" if recipe.optimizer == "adamw" else f"{_momentum(recipe.nesterov)} momentum")
        + (f" ({_momentum(alone)} where there is no teacher)" if alone != recipe.nesterov else ""),
        "Seeds": ", ".join(str(seed) for seed in dict.fromkeys(cell.choice.seed for cell in cells)),
    }
    for choice in {cell.choice.row: cell.choice for cell in cells}.values():
        name, method = choice.row
        if choice.hyperparameters or name != method:
            values = ", ".join(
                f"{name} {','.join(map(str, value)) if isinstance(value, tuple) else value}"
                for name, value in choice.hyperparameters.items()
            )
            facts[f"Set for {name}"] = values if name == method else f"{method}: {values or 'its defaults'}"
    if notes := list(dict.fromkeys(note for cell in cells for note in cell.plan.notes)):
        facts["Note"] = "; ".join(notes)
    return facts


def _held_out(plan: Plan) -> str:
    spec = plan.experiment.data
    if not spec.held_out:
        return "nothing"
    whom = (
        "teachers and students" if spec.held_out_from == "everyone" else "students whose upper level has it"
    )
    return f"{100 * spec.held_out:.3g} % of each class's training images, from {whom}"


def _origin() -> dict[str, str]:
    session = provenance.session()
    devices, versions = session["devices"], session["versions"]
    return {
        "Command": f"`{session['command']}`",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Commit": f"{session['commit'] or 'unknown'}, {session['time']}",
        "Device": f"{devices['count']} × {devices['kind']}, Python {session['python']}",
    }


def _momentum(nesterovs: bool | None) -> str:
    return "Nesterov's" if nesterovs else "plain"
