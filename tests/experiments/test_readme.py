"""What the README shows, run as it stands there."""

import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jkd
from jkd import run

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text()


def example(heading: str) -> str:
    """Returns the Python code under a heading."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return code


def python(command_line, folder, *arguments):
    """Runs Python in a folder, with the caches of all tests."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=command_line.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_in_python(command_line, tmp_path):
    images = "from sklearn.datasets import load_digits\nimages = load_digits().images / 16\n"
    (tmp_path / "script.py").write_text(images + example("In Python") + "\nprint(table)\n")
    out = python(command_line, tmp_path, "script.py")
    assert "test top-1" in out and "| aver | 2 |" in out and "Set for aver: alpha 2.0" in out
    (folder,) = (tmp_path / "runs").glob("digits-resnet8-bomd-seed1-*")
    assert run.read(folder).summary["last"]["epoch"] == 5


PARTS = """
jkd.models.register("net", Net)
jkd.teachers.register("plain", lambda: teachers[2])
jkd.data.register("mine", lambda: data)
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder with the README's own parts: as the script that is shown, and registered under names."""
    folder = tmp_path_factory.mktemp("parts")
    code = example("Your own data, teachers and student")
    (folder / "script.py").write_text(code + "\nassert (again.predict(x) == student.predict(x)).all()\n")
    (folder / "parts.py").write_text(code.split("\nstudent = ")[0] + PARTS)
    return folder


@pytest.mark.slow
def test_your_own_data_teachers_and_student(command_line, parts):
    out = python(command_line, parts, "script.py")
    for name in ("linen", "nnx", "plain"):
        assert re.search(rf"  {name} +test top-1", out)
    (folder,) = (parts / "runs").iterdir()
    assert run.read(folder).config["student"] == "Net"


@pytest.mark.slow
def test_own_parts_by_name(command_line, parts):
    flags = ["--import=parts.py", "--dataset=mine", "--teachers=net,plain", "--student=net", "--epochs=1"]
    out = python(command_line, parts, "-m", "jkd.experiments.aver", *flags)
    assert re.search(r"  net-seed0 +test top-1", out) and re.search(r"  plain +test top-1", out)
    assert "mine-net-aver-seed0" in out


@pytest.mark.slow
def test_your_own_method_is_one_file(command_line, tiny_npz, tmp_path):
    code = example("Your own method")
    assert len(code.splitlines()) <= 40
    (tmp_path / "nearest.py").write_text(code)
    flags = [f"--dataset=npz:{tiny_npz}", "--teachers=resnet8", "--teacher-epochs=1", "--epochs=1"]
    script = [str(tmp_path / "nearest.py"), *flags, "--alpha=2"]
    python(command_line, command_line.folder, *script, f"--workdir={tmp_path / 'run'}")
    done = run.read(tmp_path / "run")
    assert done.config["hyperparameters"] == {"alpha": 2.0}
    assert done.summary["method"] == "nearest"

    # The same file in a comparison, then edited: another run, not the old result.
    compare = ["-m", "jkd.experiments.compare", f"--import={tmp_path / 'nearest.py'}", *flags]
    compare += ["--methods=nearest", "--seeds=0", f"--workdir={tmp_path / 'compared'}"]
    assert "| nearest | 1 |" in python(command_line, command_line.folder, *compare)
    (tmp_path / "nearest.py").write_text(code.replace("alpha * nearest_kd", "0.0 * nearest_kd"))
    again = subprocess.run(
        [sys.executable, *compare],
        cwd=command_line.folder,
        env=command_line.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 2 and "code.method" in again.stderr and "another configuration" in again.stderr


@pytest.mark.slow
@pytest.mark.torch
def test_bring_your_teacher(command_line, tmp_path):
    (tmp_path / "script.py").write_text(example("Bring your teacher, take your student"))
    out = python(command_line, tmp_path, "script.py")
    found, promised = re.search(
        r"resnet14@resnet14_best.pth +test top-1 ([\d.]+%) \(([\d.]+%) promised\)", out
    ).groups()
    assert found == promised


@pytest.mark.slow
def test_take_your_student(tiny_npz, tmp_path, capsys, monkeypatch):
    section = README.split("## Bring your teacher, take your student\n")[1].split("\n## ")[0]
    commands = re.findall(r"^python -m (jkd\.experiments\.(export|predict)) RUN (.*)", section, re.MULTILINE)
    assert len(commands) == 4
    monkeypatch.chdir(tmp_path)
    with np.load(tiny_npz) as arrays:
        for name, image in zip(("one.png", "two.png"), arrays["x_test"], strict=False):
            Image.fromarray(image).save(name)
    given = {"dataset": f"npz:{tiny_npz}", "student": "resnet8", "epochs": 1, "workdir": "run"}
    student = jkd.distil("scratch", **given, cache_dir=str(tmp_path / "cache"))
    for module, what, arguments in commands:
        capsys.readouterr()
        command = getattr(importlib.import_module(module), f"run_{what}")
        extra = {"torch": "torch", "onnx": "jax2onnx"}.get(arguments.removeprefix("--to=").split()[0])
        if extra and importlib.util.find_spec(extra) is None:
            with pytest.raises(SystemExit):
                command([str(student.folder), *arguments.split()])
            assert "pip install 'jkd[" in capsys.readouterr().err
            continue
        command([str(student.folder), *arguments.split()])
        out = capsys.readouterr().out
        if what == "export":
            assert "reopened, on 80 test images" in out
        else:
            assert out.startswith("one.png: class ") and "\ntwo.png: class " in out


def test_commands_name_modules_that_exist():
    names = set(re.findall(r"python -m (jkd\.experiments\.\w+)", README))
    assert {"jkd.experiments.bomd", "jkd.experiments.compare", "jkd.experiments.teacher"} <= names
    for name in names:
        assert (ROOT / (name.replace(".", "/") + ".py")).exists()
