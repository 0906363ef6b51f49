"""What the command lines share: flags from the settings, mistakes in one line, exit statuses.

Exit status: 0 done, 1 the loss stopped being finite, 2 a user's mistake, 128 + n stopped by signal n (all
saved).
"""

import sys
from typing import Any, TypeVar

from jkd.errors import UserError
from jkd.flags import Parser, settings
from jkd.methods import METHODS
from jkd.training import config
from jkd.training.experiment import Experiment, distil, train_teachers
from jkd.training.loop import Diverged, Interrupted

Part = TypeVar("Part")


def run_method(method: str, arguments: list[str] | None = None) -> None:
    """Distils with `method`, as the command line says, and exits."""
    function = METHODS[method]
    parser = Parser(f"python -m jkd.experiments.{method}", (function.__doc__ or "").splitlines()[0])
    parser.add_settings(f"The method, {method}", function)
    taught = function().needs_teachers
    parts = [config.Data, config.Student, config.Recipe, config.Execution]
    if taught:
        parts.insert(1, config.Teachers)
    for part in parts:
        parser.add_settings(_title(part), part)

    def call(values: dict[str, Any]) -> None:
        distil(_experiment(method, values))

    _guard(parser, arguments, call)


def run_teachers(arguments: list[str] | None = None) -> None:
    """Trains teachers, as the command line says, and exits."""
    parser = Parser("python -m jkd.experiments.teacher", "Train the teachers that are not yet found.")
    for part in (config.Data, config.Teachers, config.Recipe, config.Execution):
        parser.add_settings(_title(part), part)

    def call(values: dict[str, Any]) -> None:
        train_teachers(_experiment("aver", values))

    _guard(parser, arguments, call)


def _title(part: type) -> str:
    return (part.__doc__ or part.__name__).splitlines()[0].rstrip(".")


def _experiment(method: str, values: dict[str, Any]) -> Experiment:
    def part(owner: type[Part]) -> Part:
        return owner(**{s.name: values[s.name] for s in settings(owner) if s.name in values})

    return Experiment(
        method,
        {s.name: values[s.name] for s in settings(METHODS[method]) if s.name in values},
        part(config.Data),
        part(config.Recipe),
        part(config.Teachers),
        part(config.Student),
        part(config.Execution),
    )


def _guard(parser: Parser, arguments: list[str] | None, call: Any) -> None:
    try:
        call(parser.parse(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stopped:
        print(stopped, flush=True)
        sys.exit(128 + stopped.signal)
    except Diverged as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        sys.exit(1)
