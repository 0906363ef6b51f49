"""The site's pages: their code runs as it stands there, and they know every method, flag and version."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest

import jkd
from jkd.comparison.compare import Compare
from jkd.distillation.export import Export
from jkd.flags import flag_name, settings
from jkd.methods import METHODS
from jkd.planning.settings import PARTS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def code(page):
    """Returns the Python blocks of a page; what it includes from elsewhere is tried there."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def run(blocks, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLBACKEND", "agg")
    results = []
    for number, block in enumerate(blocks):
        Path(f"block{number}.py").write_text(block, encoding="utf-8")
        results.append(runpy.run_path(f"block{number}.py"))
    return results


@pytest.mark.slow
def test_own_data(tmp_path, monkeypatch):
    of_folder, of_arrays = run(code("howto/own-data.md"), tmp_path, monkeypatch)
    assert of_folder["student"].classes == ("class 0", "class 1", "class 2", "class 3")
    assert of_arrays["student"].summary["last"]["epoch"] == 1
    # What a run leaves is what the page about starting tells.
    told = re.findall(r"^\| `([\w.]+)/?` \|", (DOCS / "start.md").read_text(encoding="utf-8"), re.MULTILINE)
    there = {path.name for path in of_folder["student"].folder.iterdir() if not path.name.startswith(".")}
    assert there == {*told} - {"preparation.json"}


@pytest.mark.slow
def test_a_figure(tmp_path, monkeypatch):
    run(code("howto/figures.md"), tmp_path, monkeypatch)
    assert (tmp_path / "figure.pdf").stat().st_size > 5000


@pytest.mark.slow
@pytest.mark.torch
def test_own_pytorch_network(tmp_path, monkeypatch):
    (results,) = run(code("howto/own-teacher.md"), tmp_path, monkeypatch)
    (taught,) = results["student"].summary["teachers"]
    assert taught["name"] == "mine" and abs(taught["top1"] - results["accuracy"]) < 0.006


def test_every_method_has_its_page_and_picture():
    flows = tomllib.loads((DOCS / "_ext" / "flows.toml").read_text(encoding="utf-8"))
    pages = {page.stem for page in (DOCS / "methods").glob("*.md")} - {"index"}
    modules = {path.stem for path in (ROOT / "jkd" / "methods").glob("*.py")}
    methods = {name for name in METHODS if name in modules}  # other tests register more
    assert pages == methods == set(flows)
    for name in methods:
        page = (DOCS / "methods" / f"{name}.md").read_text(encoding="utf-8")
        for directive in ("flow", "given", "rows"):
            assert f"```{{{directive}}} {name}\n" in page


def test_flags_exist():
    known = {"--help", "--version", "--plan", "--import", "--recipe", "--comparison"}
    for owner in (*METHODS.values(), *PARTS.values(), Compare, Export):
        for setting in settings(owner):
            known |= {flag_name(setting.name), flag_name(setting.name).replace("--", "--no-", 1)}
    for page in [*DOCS.glob("*.md"), *DOCS.glob("howto/*.md"), *DOCS.glob("api/*.md")]:
        text = page.read_text(encoding="utf-8")
        for command in re.findall(r"python -m jkd\.experiments\S*((?:[^`\n\\]|\\\n)*)", text):
            for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*", command):
                assert flag in known, f"{page.name}: {flag}"


def test_the_version_is_everywhere_the_same():
    assert f"\nversion: {jkd.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {jkd.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
