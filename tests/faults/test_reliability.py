"""Each promise of docs/reliability.md names a test that is there, and its numbers are those of the tests."""

import ast
import re
from pathlib import Path

import pytest
from test_inputs import ROWS
from test_kills import COMMANDS

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "reliability.md").read_text()
TABLES = TEXT.split("\n## How\n")[0]
PROMISES = [line for line in TABLES.splitlines() if line.startswith("| ") and "| Held by |" not in line]


def named(text):
    """Files and beginnings of functions that a text names; `…::` is the file that was named last."""
    file = None
    for path, name in re.findall(r"`(?:tests/)?([\w/]*\.py|…)?(?:::)?(test_\w+)?…?`", text):
        file = file if path in ("", "…") else path
        if path or name:
            yield file, name


def test_every_promise_names_a_test():
    promises = [line for line in PROMISES if not line.startswith("| ---")]
    assert len(promises) > 20
    for line in promises:
        assert list(named(line.rsplit(" | ", 1)[1])), line


@pytest.mark.parametrize(("file", "name"), sorted(set(named(TABLES))))
def test_the_tests_named_are_there(file, name):
    tree = ast.parse((TESTS / file).read_text())
    functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert any(function.startswith(name or "test_") for function in functions)


def test_the_numbers_are_those_of_the_tests():
    kills, rows = re.search(r"\((\d+) kills", TEXT)[1], re.search(r"a table of (\d+) rows", TEXT)[1]
    assert int(kills) == sum(wanted for wanted, *_ in COMMANDS.values())
    assert int(rows) == len(ROWS) >= 150
