"""`python -m jkd.experiments.compare` compares methods over seeds; --help lists the flags."""

from typing import Any

from jkd import methods
from jkd.comparison.compare import Compare, compare
from jkd.errors import UserError
from jkd.experiments import own_code, recipes
from jkd.experiments.cli import add_extras, given, guard, part, program, title
from jkd.experiments.parser import Parser
from jkd.planning.experiment import Experiment
from jkd.planning.settings import PARTS

_PROG = program("compare")


def run_compare(arguments: list[str] | None = None) -> None:
    """Compares methods, as the command line says, and exits."""
    guard(_PROG, lambda: _compare(own_code.take(given(arguments))))


def _compare(arguments: list[str]) -> None:
    # Which flags there are depends on the methods, and these may come from the recipe.
    first = _parser(())
    early = first.parse_known_args([a for a in arguments if a not in ("--help", "-h")])[0]
    recipe = recipes.load(early.recipe) if early.recipe else recipes.Recipe((), {})
    arguments = [*recipe.arguments, *arguments]
    chosen = first.parse_known_args([a for a in arguments if a not in ("--help", "-h")])[0].methods
    for name in chosen:
        methods.find(name)
    for argument in arguments:
        method, dot, _ = argument.removeprefix("--no-").removeprefix("--").partition(".")
        if dot and method in methods.METHODS and method not in chosen and argument.startswith("--"):
            raise UserError(f"{argument}: {method} is not among --methods={','.join(chosen)}")
    values = _parser(chosen).parse(arguments)
    of_methods: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    for flag, value in values.items():
        method, dot, name = flag.partition(".")
        if dot:
            of_methods[method][name] = value
    shared = {name: value for name, value in values.items() if name != "workdir"}  # that is the comparison's
    base = Experiment("scratch", **{name: part(owner, shared) for name, owner in PARTS.items()})
    compare(part(Compare, values), base, of_methods, recipe.published)


def _parser(chosen: tuple[str, ...]) -> Parser:
    parser = Parser(
        _PROG, "Compare methods: the same teachers and seeds for all, and a table of the differences."
    )
    parser.add_settings(title(Compare), Compare)
    parser.add_argument_group("Recipe of a published table").add_argument(
        "--recipe",
        metavar="TEXT",
        help="flags from experiments/NAME.toml or a path; what is given here goes first",
    )
    for owner in PARTS.values():
        parser.add_settings(title(owner), owner, without=("seed", "workdir"))
    add_extras(parser)
    for name in dict.fromkeys(chosen):
        parser.add_settings(f"The method {name}", methods.find(name), prefix=name)
    return parser


if __name__ == "__main__":
    run_compare()
