"""`python -m jkd.experiments.compare` compares methods over seeds; --help lists the flags."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jkd import methods
from jkd.comparison.choice import Row
from jkd.comparison.compare import Compare, compare
from jkd.errors import UserError
from jkd.experiments import own_code, recipes
from jkd.experiments.cli import USUAL, add_extras, given, guard, part, program, title
from jkd.experiments.parser import Parser
from jkd.planning.experiment import Experiment
from jkd.planning.settings import PARTS

_PROG = program("compare")
_HELP = ("--help", "-h", "--help-all")


def run_compare(arguments: list[str] | None = None) -> None:
    """Compares methods, as the command line says, and exits."""
    guard(_PROG, lambda: _compare(own_code.take(given(arguments))))


def _compare(arguments: list[str]) -> None:
    # Which flags there are depends on the methods, and these may come from the recipe.
    first = parser()
    early = first.parse_known_args([a for a in arguments if a not in _HELP])[0]
    recipe = recipes.load(early.recipe) if early.recipe else recipes.Recipe((), {})
    arguments = [*recipe.arguments, *arguments]
    chosen = first.parse_known_args([a for a in arguments if a not in _HELP])[0].methods
    rows = {row.name: row.method for row in map(Row.of, chosen)}
    for argument in arguments[len(recipe.arguments) :]:
        row = _row(argument)
        if row in methods.METHODS and row not in rows:
            raise UserError(f"{argument}: {row} is not among --methods={','.join(chosen)}")
    # Of a recipe some rows may be asked for.
    flags = {name.replace("_", "-") for name in rows}
    kept = [a for a in recipe.arguments if not _row(a) or _row(a) in flags]
    values = parser(rows).parse([*kept, *arguments[len(recipe.arguments) :]])
    of_rows: dict[str, dict[str, Any]] = {name: {} for name in rows}
    for flag, value in values.items():
        row, dot, name = flag.partition(".")
        if dot:
            of_rows[row][name] = value
    shared = {name: value for name, value in values.items() if name != "workdir"}  # that is the comparison's
    base = Experiment("scratch", **{name: part(owner, shared) for name, owner in PARTS.items()})
    compare(part(Compare, values), base, of_rows, recipe.published)


def _row(argument: str) -> str:
    """Returns the row whose flag an argument is, or nothing."""
    flag = argument.partition("=")[0]
    row, dot, _ = flag.removeprefix("--no-").removeprefix("--").partition(".")
    return row if dot and flag.startswith("--") else ""


def parser(rows: Mapping[str, str] = MappingProxyType({})) -> Parser:
    """Returns the command line's parser, with the flags of the rows' methods."""
    made = Parser(
        _PROG, "Compare methods: the same teachers and seeds for all, and a table of the differences."
    )
    made.add_settings(title(Compare), Compare)
    made.add_argument_group("Recipe of a published table").add_argument(
        "--recipe",
        metavar="TEXT",
        help="flags from experiments/NAME.toml or a path, :SETTING behind it where it has settings; "
        "what is given here goes first",
    )
    for owner in PARTS.values():
        made.add_settings(title(owner), owner, without=("seed", "workdir"), usual=USUAL)
    add_extras(made)
    for name, method in rows.items():
        called = f"{name}, the method {method}" if name != method else f"The method {name}"
        made.add_settings(called, methods.find(method), prefix=name, usual=())
    return made


if __name__ == "__main__":
    run_compare()
