"""`python -m jkd.experiments NAME`: a method (also one that --import brings), or another command."""

import sys

from jkd import methods
from jkd.errors import UserError, nearest
from jkd.experiments import own_code
from jkd.experiments.cli import guard, run_method, run_teachers
from jkd.experiments.compare import run_compare
from jkd.experiments.export import run_export
from jkd.experiments.listening import run_listening
from jkd.experiments.precompute import run_precompute
from jkd.experiments.predict import run_predict

_PROG = "python -m jkd.experiments"
_OTHERS = {
    "teacher": run_teachers,
    "compare": run_compare,
    "export": run_export,
    "listening": run_listening,
    "precompute": run_precompute,
    "predict": run_predict,
}


def main(arguments: list[str]) -> None:
    """Runs the command that the first argument names."""

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

    guard(_PROG, choose)
    if name in _OTHERS:
        _OTHERS[name](arguments[1:])
    else:
        run_method(name, arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
