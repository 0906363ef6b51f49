"""What the command lines share: flags from the settings, mistakes in one line, exit statuses.

Exit status: 0 done, 1 the loss stopped being finite, 2 a user's mistake or a full disk, 128 + n stopped by
signal n (all saved).
"""

import errno
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from jkd.distillation.distil import distil, train_teachers
from jkd.errors import UserError
from jkd.flags import Parser, settings
from jkd.methods import METHODS
from jkd.planning import settings as config
from jkd.planning.plan import Experiment
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
    for owner in parts:
        parser.add_settings(title(owner), owner)
    guard(parser.prog, lambda: distil(_experiment(method, parser.parse(given(arguments)))))


def run_teachers(arguments: list[str] | None = None) -> None:
    """Trains teachers, as the command line says, and exits."""
    parser = Parser("python -m jkd.experiments.teacher", "Train the teachers that are not yet found.")
    for owner in (config.Data, config.Teachers, config.Recipe, config.Execution):
        parser.add_settings(title(owner), owner)
    guard(parser.prog, lambda: train_teachers(_experiment("aver", parser.parse(given(arguments)))))


def given(arguments: list[str] | None) -> list[str]:
    """Returns the arguments, or those of the command line."""
    return sys.argv[1:] if arguments is None else arguments


def title(owner: type) -> str:
    """Returns the heading in --help of a part of the settings."""
    return (owner.__doc__ or owner.__name__).splitlines()[0].rstrip(".")


def part(owner: type[Part], values: dict[str, Any]) -> Part:
    """Returns a part of the settings from the values of the flags; what has no flag keeps its default."""
    return owner(**{s.name: values[s.name] for s in settings(owner) if s.name in values})


def _experiment(method: str, values: dict[str, Any]) -> Experiment:
    return Experiment(
        method,
        {s.name: values[s.name] for s in settings(METHODS[method]) if s.name in values},
        part(config.Data, values),
        part(config.Recipe, values),
        part(config.Teachers, values),
        part(config.Student, values),
        part(config.Execution, values),
    )


def guard(prog: str, call: Callable[[], Any]) -> None:
    """Calls, and turns what ends a program early into a line and an exit status."""
    try:
        call()
    except UserError as error:
        print(f"{prog}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"{prog}: {error.strerror}{where}: what was saved before is whole; make room, and the same "
            "command goes on from there",
            file=sys.stderr,
        )
        sys.exit(2)
    except Interrupted as stopped:
        print(stopped, flush=True)
        sys.exit(128 + stopped.signal)
    except KeyboardInterrupt:
        print(f"{prog}: stopped before or after training; the same command goes on from there", flush=True)
        sys.exit(128 + signal.SIGINT)
    except Diverged as error:
        print(f"{prog}: {error}", file=sys.stderr)
        sys.exit(1)
