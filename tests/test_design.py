"""What docs/design.md says of the code is so: its rooms, which way imports run, and the sizes."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "design.md").read_text()
FILES = sorted((ROOT / "jkd").rglob("*.py"))
LAYERS = ("experiments", "comparison", "distillation", "planning", "teachers", "training", "steps", "methods")


TREE = re.search(r"## The rooms\n```\n(.*?)\nexperiments/ ", TEXT, re.DOTALL)[1]


def rooms():
    """The tree as it is drawn: each folder and file at its top, with what is said of it."""
    return dict(re.findall(r"^  (\w+(?:/|\.py)) +(.*(?:\n {4,}.*)*)", TREE, re.MULTILINE))


def imported(path):
    """The modules of jkd that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "jkd")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jkd":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module):
    return module.split(".")[1] if "." in module else "front door"


def test_the_tree_is_what_is_there():
    for name in rooms():
        assert (ROOT / "jkd" / name).exists(), name
    for path in (ROOT / "jkd").iterdir():
        if path.suffix == ".py" or (path / "__init__.py").exists():
            assert path.name in TREE, path.name


@pytest.mark.parametrize("name", [name for name in rooms() if name.endswith("/")])
def test_files_that_are_named_are_in_their_room(name):
    said = rooms()[name]
    for file in re.findall(r"\b(\w+\.py)\b", said):
        assert list((ROOT / "jkd" / name).rglob(file)), f"{name}{file}"


def test_the_way_of_a_setting_visits_files_that_are_there():
    rows = re.findall(r"^\| (`[^|]*) \|", TEXT, re.MULTILINE)
    files = [file for row in rows for file in re.findall(r"`(\w+/\w+\.py)`", row)]
    assert len(files) > 5
    for file in files:
        assert (ROOT / "jkd" / file).is_file(), file
    assert len(files) == len(set(files)), "each at most once"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_imports_what_is_below_it(path):
    assert len(path.read_text().splitlines()) <= 250
    here, *_ = path.relative_to(ROOT / "jkd").parts
    there = {room(module) for module in imported(path)}
    if here not in ("experiments", "__init__.py", "front.py"):
        assert not there & {"experiments", "front", "front door"}
    if here in LAYERS:
        assert not there & set(LAYERS[: LAYERS.index(here)])
    elif here in ("models", "losses", "weighting.py", "bilevel", "stiefel.py"):
        assert not there & set(LAYERS)


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=lambda path: path.name)
def test_a_folder_is_seen_at_a_glance(folder):
    one_a_name = ("methods", "models", "experiments")  # a method, a family of networks, a command in each
    assert folder.name in one_a_name or len(list(folder.glob("*.py"))) <= 12
