"""What the command lines share: flags from the settings, mistakes in one line, exit statuses.

Exit status: 0 done, 1 the loss stopped being finite, 2 a user's mistake or a full disk, 128 + n stopped by
signal n (all saved).
"""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import jax

from jkd import process, system
from jkd.errors import UserError
from jkd.flags import Parser, settings
from jkd.methods import METHODS
from jkd.training import config
from jkd.training.experiment import distil, train_teachers
from jkd.training.loop import Diverged, Interrupted
from jkd.training.plan import Experiment

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
    with process.command_line():
        try:
            call()
            sys.stdout.flush()  # here, where a reader that is gone is understood
            return
        except Interrupted as stopped:
            line, status = str(stopped), 128 + stopped.signal
        except KeyboardInterrupt as stopped:
            line = f"{prog}: stopped before or after training; the same command goes on from there"
            status = 128 + getattr(stopped, "signal", signal.SIGINT)
        except Exception as error:
            line, status = _mistake(error)
            line = f"{prog}: {' '.join(line.split())}"
        with suppress(OSError):  # the terminal is gone
            print(line, file=sys.stdout if status > 2 else sys.stderr, flush=True)
        process.leave(status)


def _mistake(error: Exception) -> tuple[str, int]:
    """Returns the line and the exit status for a user's or the machine's part in an error, or raises it."""
    if isinstance(error, UserError):
        return str(error), 2
    if isinstance(error, Diverged):
        return str(error), 1
    if isinstance(error, BrokenPipeError):
        process.discard(1)  # else the interpreter complains once more at its end
        return "the output's reader is gone; the same command goes on from what was saved", 2
    if (refused := system.refusal(error)) is not None:
        return f"{refused}; what was saved before is whole, and the same command goes on from there", 2
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"the memory is full ({error}): take a smaller --batch-size or --image-size, or less data", 2
    try:
        jax.devices()
    except Exception as missing:  # of all kinds, AssertionError among them
        named = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX has no device here for JAX_PLATFORMS={named}; unset it, or name cpu. {missing}", 2
    raise error
