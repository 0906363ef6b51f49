"""What the README shows, run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

from jkd import run

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_your_own_method_is_one_file(command_line, tiny_npz, tmp_path):
    section = README.split("## Your own method")[1]
    (code,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    assert len(code.splitlines()) <= 40
    script = tmp_path / "nearest.py"
    script.write_text(code)
    flags = [
        f"--dataset=npz:{tiny_npz}",
        "--teachers=resnet8",
        "--teacher-epochs=2",
        "--epochs=1",
        "--alpha=2",
    ]
    done = subprocess.run(
        [sys.executable, str(script), *flags, f"--workdir={tmp_path / 'run'}"],
        cwd=command_line.folder,
        env=command_line.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    done = run.read(tmp_path / "run")
    assert done.config["hyperparameters"] == {"alpha": 2.0}
    assert done.summary["method"] == "nearest"


def test_commands_name_modules_that_exist():
    names = set(re.findall(r"python -m (jkd\.experiments\.\w+)", README))
    assert {"jkd.experiments.bomd", "jkd.experiments.compare", "jkd.experiments.teacher"} <= names
    for name in names:
        assert (Path(__file__).parent.parent / (name.replace(".", "/") + ".py")).exists()
