"""What the command lines share: flags from the settings, mistakes in one line, exit statuses.

Exit status: 0 done, 1 the loss stopped being finite, 2 a user's mistake or a full disk, 128 + n stopped by
signal n (all saved).
"""

import errno
import importlib.util
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from jkd import methods
from jkd.distillation.distil import Faculty, cache_programs, distil
from jkd.errors import UserError
from jkd.experiments import own_code
from jkd.experiments.parser import Parser
from jkd.flags import settings
from jkd.planning.experiment import Experiment
from jkd.planning.plan import plan
from jkd.planning.settings import PARTS
from jkd.training.loop import Diverged, Interrupted

Part = TypeVar("Part")


def run_method(method: str, arguments: list[str] | None = None) -> None:
    """Distils with `method`, as the command line says, and exits."""
    prog = program(method)
    guard(prog, lambda: _distil(prog, method, own_code.take(given(arguments))))


def run_teachers(arguments: list[str] | None = None) -> None:
    """Trains teachers, as the command line says, and exits."""
    prog = program("teacher")
    guard(prog, lambda: _train_teachers(prog, own_code.take(given(arguments))))


def _distil(prog: str, method: str, arguments: list[str]) -> None:
    function = methods.find(method)
    parser = Parser(prog, (function.__doc__ or method).splitlines()[0])
    parser.add_settings(f"The method, {method}", function)
    taught = function().needs_teachers
    for name, owner in PARTS.items():
        if taught or name != "teachers":
            parser.add_settings(title(owner), owner)
    add_extras(parser, plan_only=True)
    values = parser.parse(arguments)
    only_plan = values.pop("plan")
    planned = plan(Experiment.of(method, **values))
    if only_plan:
        print(planned)
    else:
        distil(planned)


def _train_teachers(prog: str, arguments: list[str]) -> None:
    parser = Parser(prog, "Train the teachers that are not yet found.")
    for name, owner in PARTS.items():
        if name != "student":
            parser.add_settings(title(owner), owner)
    add_extras(parser)
    planned = plan(Experiment.of("aver", **parser.parse(arguments)))
    cache_programs(planned.experiment.execution)
    count = len(Faculty.of(planned).rating.teachers)
    print(f"{count} teachers are in {planned.experiment.teachers.teacher_dir}", flush=True)


def program(name: str) -> str:
    """Returns what was run: a module of jkd's, with the command's name, or somebody's own script."""
    main = sys.modules["__main__"]
    script = getattr(main, "__file__", None)
    if getattr(main, "__spec__", None) is None and script:
        return f"python {script}"
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
        default=[],
        help="files (my_method.py) or modules that register methods, networks, teachers or data sets",
    )
    parser.without.add("import")
    if plan_only:
        group.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")


def title(owner: type) -> str:
    """Returns the heading in --help of a part of the settings."""
    return (owner.__doc__ or owner.__name__).splitlines()[0].rstrip(".")


def part(owner: type[Part], values: dict[str, Any]) -> Part:
    """Returns a part of the settings from the values of the flags; what has no flag keeps its default."""
    return owner(**{s.name: values[s.name] for s in settings(owner) if s.name in values})


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
