"""What of a run is there to be looked at: a picture, and a page."""

from pathlib import Path

from jkd.report.page import of_run
from jkd.report.picture import draw
from jkd.run import Contents


def picture(folder: Path, form: str) -> Path:
    """Returns where a run's picture is, in a format such as `png`."""
    return folder / f"picture.{form}"


def is_shown(folder: Path, form: str) -> bool:
    """Whether the picture, in this format, and the page are there."""
    return picture(folder, form).exists() and (folder / of_run.FILE).exists()


def show(run: Contents, form: str) -> None:
    """Draws a finished run and writes its page."""
    assert run.summary is not None
    draw(
        run.records,
        picture(run.folder, form),
        teachers=[(row["name"], row["top1"]) for row in run.summary["teachers"]],
        ensemble_top1=run.summary["ensemble"].get("top1"),
        title=run.folder.name,
    )
    of_run.write(run)
