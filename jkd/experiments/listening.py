"""`python -m jkd.experiments.listening`: who was listened to in a comparison; --help lists the flags."""

from jkd.comparison.listening import Listening, report
from jkd.experiments.cli import given, guard, program, title
from jkd.experiments.parser import Parser

_PROG = program("listening")


def run_listening(arguments: list[str] | None = None) -> None:
    """Reports who was listened to, as the command line says, and exits."""
    guard(_PROG, lambda: _listening(given(arguments)))


def parser() -> Parser:
    """Returns the command line's parser."""
    made = Parser(_PROG, "Report who was listened to in a comparison, and what it was worth.")
    made.add_settings(title(Listening), Listening)
    return made


def _listening(arguments: list[str]) -> None:
    settings = Listening(**parser().parse(arguments))
    print(report(settings), flush=True)
    print(f"{settings.comparison} has listening.md", flush=True)


if __name__ == "__main__":
    run_listening()
