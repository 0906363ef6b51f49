"""`python -m jkd.experiments.precompute METHOD` writes what teachers say of views; --help lists the flags."""

from jkd import methods
from jkd.distillation.precompute import precompute
from jkd.errors import UserError, nearest
from jkd.experiments import own_code
from jkd.experiments.cli import given, guard, method_parser, program
from jkd.planning.experiment import Experiment
from jkd.planning.plan import plan
from jkd.planning.settings import TEACHERS, time_limit

_PROG = program("precompute")


def run_precompute(arguments: list[str] | None = None) -> None:
    """Writes what a method's teachers say of views, as the command line says, and exits."""
    guard(_PROG, lambda: _precompute(own_code.take(given(arguments))))


def _precompute(arguments: list[str]) -> None:
    there = [name for name in methods.METHODS if methods.create(name).needs_teachers]
    name, *rest = arguments or [""]
    if name in ("--help", "-h", "--help-all", "--version"):
        name, rest = "aver", [name]
    try:
        methods.find(name)
    except UserError:
        raise UserError(
            f"the first argument is the method whose questions are asked{nearest(name, there)}: one of "
            f"{', '.join(there)}"
        ) from None
    if not methods.create(name).needs_teachers:
        raise UserError(f"{name} has no teachers to ask")
    says = "Write what teachers say of the training images in fixed views, for runs with --teacher-outputs."
    values = method_parser(f"{_PROG} METHOD", name, says).parse(rest)
    if values["teachers"] is None:
        values["teachers"] = TEACHERS
    experiment = Experiment.of(name, **values)
    with time_limit(experiment.execution):
        print(f"the teachers' outputs are in {precompute(plan(experiment))}", flush=True)


if __name__ == "__main__":
    run_precompute()
