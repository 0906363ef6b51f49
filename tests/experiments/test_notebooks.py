"""The notebooks: in step with their text, executed in a real kernel, and stopped as a person stops them."""

import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
# A mean of two seeds says nothing of a method; these are what a reader looks for at the end of each.
SHOWS = {
    "start": r"the student +\d+\.\d+%",
    "your-own": r"student\.stablehlo, without jkd: \d+\.\d+% of the test images are right",
    "hypergradients": r"unrolled +cosine to exact 1\.000",
    "compare": r"\| scratch \| 2 \|",
}


@pytest.fixture(scope="module")
def execute():
    """The module that makes the notebooks."""
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(name):
    return json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]


def shown(outputs):
    """All text of cells' outputs."""
    texts = [output.get("text") or output.get("data", {}).get("text/markdown", "") for output in outputs]
    return "\n".join("".join(text) for text in texts)


@pytest.mark.notebooks
def test_there_are_no_others(execute):
    assert sorted(execute.NAMES) == NAMES


@pytest.mark.notebooks
@pytest.mark.parametrize("name", NAMES)
def test_notebook_and_text_say_the_same(execute, name):
    text = [(cell.cell_type, cell.source) for cell in execute.read(name).cells]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells(name)] == text


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_there_and_say_with_which_settings(name):
    outputs = [output for cell in cells(name) if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert re.search(r"^\d+ × .* jax [\d.]+, jkd .*(small|full) settings", shown(outputs), re.MULTILINE)
    assert [output for output in outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("name", NAMES)
def test_the_badge_opens_the_notebook_of_the_repository_that_is_installed(name):
    text = (FOLDER / f"{name}.py").read_text()
    (installed,) = re.findall(r'"git\+https://github\.com/([\w-]+/jkd)"', text)
    (opened,) = re.findall(r"\(https://colab\.research\.google\.com/github/(\S+)\)", text)
    assert opened == f"{installed}/blob/main/experiments/notebooks/{name}.ipynb"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = project.get("urls", {}).get("Repository", "https://github.com/OWNER/jkd")
    assert named.rstrip("/") == f"https://github.com/{installed}"
    assert f"experiments/notebooks/{name}.ipynb" in (ROOT / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.notebooks
@pytest.mark.parametrize(
    "name", [*(n for n in NAMES if n != "your-own"), pytest.param("your-own", marks=pytest.mark.torch)]
)
def test_from_top_to_bottom(execute, name, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("JKD_SMALL", "1")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    done = execute.execute(execute.read(name), tmp_path)
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert re.search(SHOWS[name], shown(outputs)) and "small settings" in shown(outputs)
    # The first cell had nothing to install.
    assert not (tmp_path / "keep.txt").exists()


LONG_RUN = """
import sys
sys.path.append({tests!r})
import jkd, tiny
jkd.distil("scratch", dataset={data!r}, student="tiny", epochs=2000, workdir="run", cache_dir="cache")
"""


@pytest.mark.slow
@pytest.mark.notebooks
def test_the_stop_button_leaves_a_run_that_goes_on(tmp_path, tiny_npz, monkeypatch):
    from jupyter_client.manager import start_new_kernel

    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    manager, client = start_new_kernel(cwd=str(tmp_path))
    code = LONG_RUN.format(tests=str(ROOT / "tests"), data=f"npz:{tiny_npz}")
    said, asked = [], []

    def listen(message):
        if message["msg_type"] == "display_data" and "widget" in str(message["content"]["data"].keys()):
            said.append("<bar>")
        said.append(message["content"].get("text", ""))
        if re.search(r"epoch \d+/2000", said[-1]) and not asked:
            asked.append(True)
            manager.interrupt_kernel()

    def stopped():
        """Runs the cell, presses the button after its first epoch, and returns where it stopped."""
        said.clear(), asked.clear()
        reply = client.execute_interactive(code, output_hook=listen, timeout=300)["content"]
        assert reply["ename"] == "Interrupted", reply
        assert "goes on from there" in reply["evalue"]
        return int(re.search(r"saved at step ([\d,]+) of", reply["evalue"])[1].replace(",", ""))

    try:
        first = stopped()
        assert "<bar>" in said
        second = stopped()
        assert f"resumed at step {first:,} of" in "".join(said) and second > first
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
