"""What the command lines share: flags from the settings, mistakes in one line, exit statuses.

Exit status: 0 done, or stopped at --time-limit; 1 the loss stopped being finite; 2 a user's mistake or a full
disk; 128 + n stopped by signal n. Whoever was stopped has saved.
"""

import argparse
import ast
import importlib.util
import inspect
import os
import signal
import sys
import textwrap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import jax

from jkd import methods
from jkd.distillation.distil import Faculty, cache_programs, distil
from jkd.errors import UserError
from jkd.experiments import own_code
from jkd.experiments.parser import Parser
from jkd.flags import settings
from jkd.machine import hosts, process, system
from jkd.machine.process import Interrupted
from jkd.planning.experiment import Experiment
from jkd.planning.plan import plan
from jkd.planning.settings import PARTS, time_limit
from jkd.training.together import Diverged

Part = TypeVar("Part")

# What --help shows of the settings that all methods share; the rest is in --help-all.
USUAL: tuple[str, ...] = (
    "dataset",
    "image_size",
    "teachers",
    "teacher_dir",
    "teacher_epochs",
    "student",
    "seed",
)
USUAL += ("epochs", "batch_size", "learning_rate", "dtype", "workdir", "time_limit")
_OF_STUDENTS = ("teacher_views", "teacher_outputs", "teacher_outputs_in")


def run_method(method: str, arguments: list[str] | None = None) -> None:
    """Distils with `method`, as the command line says, and exits."""
    prog = program(method)
    guard(prog, lambda: _distil(prog, method, own_code.take(given(arguments))))


def run_teachers(arguments: list[str] | None = None) -> None:
    """Trains teachers, as the command line says, and exits."""
    prog = program("teacher")
    guard(prog, lambda: _train_teachers(prog, own_code.take(given(arguments))))


def _distil(prog: str, method: str, arguments: list[str]) -> None:
    values = method_parser(prog, method, plan_only=True).parse(arguments)
    only_plan = values.pop("plan")
    experiment = Experiment.of(method, **values)
    with time_limit(experiment.execution):
        planned = plan(experiment)
        if only_plan:
            print(planned)
        else:
            distil(planned)


def method_parser(prog: str, method: str, says: str | None = None, plan_only: bool = False) -> Parser:
    """Returns a parser of all that a run by a method can be given."""
    function = methods.find(method)
    parser = Parser(prog, says or documented(function))
    parser.add_settings(f"The method, {method}", function)
    taught = function().needs_teachers
    for name, owner in PARTS.items():
        if taught or name != "teachers":
            parser.add_settings(title(owner), owner, usual=USUAL)
    add_extras(parser, plan_only)
    return parser


def teacher_parser(prog: str) -> Parser:
    """Returns a parser of all that training teachers can be given."""
    parser = Parser(prog, "Train the teachers that are not yet found.")
    for name, owner in PARTS.items():
        if name != "student":
            parser.add_settings(title(owner), owner, without=_OF_STUDENTS, usual=USUAL)
    add_extras(parser)
    return parser


def _train_teachers(prog: str, arguments: list[str]) -> None:
    experiment = Experiment.of("aver", **teacher_parser(prog).parse(arguments))
    with time_limit(experiment.execution):
        cache_programs(experiment.execution)
        count = len(Faculty.of(plan(experiment)).rating.teachers)
        print(f"{count} teachers are in {experiment.teachers.teacher_dir}", flush=True)


def program(name: str) -> str:
    """Returns what was run: `jkd` or a module of jkd's, with the command's name, or somebody's own script."""
    main = sys.modules["__main__"]
    script, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if spec is None and script:
        return f"jkd {name}" if Path(script).name == "jkd" else f"python {script}"
    if spec is not None and not spec.name.startswith("jkd."):
        return f"python -m {spec.name.removesuffix('.__main__')}"
    try:
        found = importlib.util.find_spec(f"jkd.experiments.{name}") is not None
    except ValueError:
        found = False
    return f"python -m jkd.experiments{'.' if found else ' '}{name}"


def given(arguments: list[str] | None) -> list[str]:
    """Returns the arguments, or those of the command line."""
    return sys.argv[1:] if arguments is None else arguments


def add_extras(parser: Parser, plan_only: bool = False) -> None:
    """Adds what is no setting of an experiment: own code, and where asked for, --plan."""
    group = parser.add_argument_group("Own code")
    # Taken from the arguments before this parser sees them.
    group.add_argument(
        own_code.FLAG,
        metavar="A,B,...",
        default=argparse.SUPPRESS,
        help="files (my_method.py) or modules that register methods, networks, teachers or data sets",
    )
    if plan_only:
        group.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")


def title(owner: type) -> str:
    """Returns the heading in --help of a part of the settings."""
    return documented(owner).rstrip(".")


def documented(owner: Any) -> str:
    """Returns the first line of a docstring, from the source where `python -OO` has dropped it, or a name."""
    text = owner.__doc__
    if sys.flags.optimize > 1:
        # A dataclass without a docstring has its signature for one.
        with suppress(OSError, TypeError, SyntaxError):
            defined = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
            text = ast.get_docstring(defined) if isinstance(defined, ast.ClassDef | ast.FunctionDef) else None
    return (text or owner.__name__).splitlines()[0]


def part(owner: type[Part], values: dict[str, Any]) -> Part:
    """Returns a part of the settings from the values of the flags; what has no flag keeps its default."""
    return owner(**{s.name: values[s.name] for s in settings(owner) if s.name in values})


def guard(prog: str, call: Callable[[], Any]) -> None:
    """Calls, and turns what ends a program early into a line and an exit status."""
    with process.command_line():
        try:
            call()
            sys.stdout.flush()  # here, where a reader that is gone is understood
            return
        except Interrupted as stopped:
            line, status = str(stopped), 0 if stopped.at_time_limit else 128 + stopped.signal
        except KeyboardInterrupt as stopped:
            line = f"{prog}: stopped before or after training; the same command goes on from there"
            status = 128 + getattr(stopped, "signal", signal.SIGINT)
        except Exception as error:
            line, status = _mistake(error)
            line = f"{prog}: {' '.join(line.split())}"
        with suppress(OSError):  # the terminal is gone
            print(line, file=sys.stderr if status in (1, 2) else sys.stdout, flush=True)
        if status == 2 and hosts.joined():
            os._exit(status)  # without waiting for the others, who may not know of it
        process.leave(status)


def _mistake(error: Exception) -> tuple[str, int]:
    """Returns the line and the exit status for a user's or the machine's part in an error, or raises it."""
    if isinstance(error, UserError):
        return str(error), 2
    if isinstance(error, Diverged):
        return str(error), 1
    if (lost := hosts.lost(error)) is not None:
        return lost, 2
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
