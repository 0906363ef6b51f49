"""`jkd NAME`, or `python -m jkd.experiments NAME`: a method (one that --import brings too), or a command."""

import sys

from jkd import methods
from jkd.errors import UserError, nearest
from jkd.experiments import own_code
from jkd.experiments.cli import guard, run_method, run_teachers
from jkd.experiments.compare import run_compare
from jkd.experiments.export import run_export
from jkd.experiments.listening import run_listening
from jkd.experiments.parser import VERSION
from jkd.experiments.precompute import run_precompute
from jkd.experiments.predict import run_predict
from jkd.experiments.report import run_report

_OTHERS = {
    "teacher": run_teachers,
    "compare": run_compare,
    "export": run_export,
    "listening": run_listening,
    "precompute": run_precompute,
    "predict": run_predict,
    "report": run_report,
}


def main(arguments: list[str], prog: str = "python -m jkd.experiments") -> None:
    """Runs the command that the first argument names; `prog` is what a mistake is told under."""
    if arguments[:1] == ["--version"]:
        print(VERSION)
        return

    def chosen() -> str:
        own_code.take(arguments)
        name, *_ = [*arguments, "--help"]
        there = [*methods.METHODS, *_OTHERS]
        if name.startswith("-"):
            raise UserError(f"the first argument says what to do: one of {', '.join(there)}")
        if name not in _OTHERS:
            try:
                methods.find(name)
            except UserError:
                raise UserError(
                    f"'{name}' is no method or command{nearest(name, there)}; there are {', '.join(there)}"
                ) from None
        return name

    name = ""

    def choose() -> None:
        nonlocal name
        name = chosen()

    guard(prog, choose)
    if name in _OTHERS:
        _OTHERS[name](arguments[1:])
    else:
        run_method(name, arguments[1:])


def jkd() -> None:
    """The command `jkd`."""
    main(sys.argv[1:], "jkd")


if __name__ == "__main__":
    main(sys.argv[1:])
