"""Settings as annotations, and the command line made of them."""

from typing import Annotated

import pytest

from jkd.errors import UserError
from jkd.experiments.parser import Parser
from jkd.flags import Flag, resolve


def owner(
    *,
    rate: Annotated[float, Flag("how fast", above=0, at_most=1)] = 0.5,
    names: Annotated[tuple[str, ...], Flag("who")] = ("a", "b"),
    kind: Annotated[str, Flag("which", choices=("plain", "fancy"), group="Taste")] = "plain",
    loud: Annotated[bool, Flag("whether to shout")] = False,
    size: Annotated[int | None, Flag("how many", default="as many as there are")] = None,
) -> None:
    """Does nothing."""


def parser():
    made = Parser("prog", "Does nothing.")
    made.add_settings("Settings", owner)
    return made


def test_defaults_are_those_of_the_signature():
    expected = {"rate": 0.5, "names": ("a", "b"), "kind": "plain", "loud": False, "size": None}
    assert parser().parse([]) == expected


def test_values_have_the_annotated_types():
    values = parser().parse(["--rate=1", "--names=x, y,z", "--kind=fancy", "--loud", "--size=3"])
    assert values == {"rate": 1.0, "names": ("x", "y", "z"), "kind": "fancy", "loud": True, "size": 3}
    assert isinstance(values["rate"], float)


def test_help_says_meaning_default_and_heading():
    text = parser().format_help()
    for words in ("how fast (default: 0.5)", "who (default: a,b)", "as many as there are", "Taste"):
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rat=1"], "did you mean '--rate'"),
        (["--rate=fast"], "fast"),
        (["--size=2.5"], "2.5"),
        (["stray"], "stray"),
    ],
)
def test_what_cannot_be_parsed_is_a_users_mistake(arguments, words):
    with pytest.raises(UserError, match=words):
        parser().parse(arguments)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rate": 0.0}, "--rate=0.0: it must be above 0"),
        ({"rate": 1.5}, "at most 1"),
        ({"rate": float("inf")}, "finite"),
        ({"kind": "fanci"}, "did you mean 'fancy'"),
        ({"speed": 1}, "unknown setting 'speed'"),
    ],
)
def test_what_is_out_of_range_is_a_users_mistake(values, words):
    with pytest.raises(UserError, match=words):
        resolve(owner, values)


def test_a_value_that_shows_itself_in_many_lines_is_told_in_one():
    class Network:
        def __repr__(self):
            return "Network(\n  (body): Layer()\n" + 100 * "  (more): Layer()\n" + ")"

    for given in ({"rate": Network()}, {"rate": [Network()]}):
        with pytest.raises(
            UserError, match=r"--rate=\[?Network\( \(body\): Layer\(\).*\.\.\.: it must be"
        ) as told:
            resolve(owner, given)
        assert "\n" not in str(told.value) and len(str(told.value)) < 200
