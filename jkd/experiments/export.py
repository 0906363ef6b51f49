"""`python -m jkd.experiments.export RUN` writes a student for other programs; see --help."""

from jkd.distillation.export import Export
from jkd.distillation.student import load
from jkd.experiments import own_code
from jkd.experiments.cli import add_extras, given, guard, program, title
from jkd.experiments.parser import Parser

_PROG = program("export")


def run_export(arguments: list[str] | None = None) -> None:
    """Exports a student, as the command line says, and exits."""
    guard(_PROG, lambda: _export(own_code.take(given(arguments))))


def parser() -> Parser:
    """Returns the command line's parser."""
    made = Parser(_PROG, "Write a student to a file that other programs run, and compare it there.")
    made.add_argument("run", metavar="RUN", help="the run's folder")
    made.add_settings(title(Export), Export)
    add_extras(made)
    return made


def _export(arguments: list[str]) -> None:
    values = parser().parse(arguments)
    student = load(values.pop("run"))
    print(student, flush=True)
    print(student.export(values.pop("output"), **values))


if __name__ == "__main__":
    run_export()
