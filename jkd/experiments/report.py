"""`python -m jkd.experiments.report FOLDER ...` makes the pages of runs and comparisons; see --help."""

from jkd.comparison.pages import Report, report
from jkd.experiments.cli import given, guard, program, title
from jkd.experiments.parser import Parser

_PROG = program("report")


def run_report(arguments: list[str] | None = None) -> None:
    """Makes pages, as the command line says, and exits."""
    guard(_PROG, lambda: _report(given(arguments)))


def parser() -> Parser:
    """Returns the command line's parser."""
    made = Parser(_PROG, "Make the pages (report.html) of runs and comparisons anew, while they go on too.")
    made.add_argument(
        "folders", metavar="FOLDER", nargs="+", help="of a run or a comparison, or that holds some"
    )
    made.add_settings(title(Report), Report)
    return made


def _report(arguments: list[str]) -> None:
    values = parser().parse(arguments)
    report(values.pop("folders"), Report(**values), say=lambda line: print(line, flush=True))


if __name__ == "__main__":
    run_report()
