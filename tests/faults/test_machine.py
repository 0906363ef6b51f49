"""What the machine refuses is told in one line; nothing that was saved is lost, and the run goes on."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_run import CONFIG, abstract, make_state, resume

from jkd.errors import UserError
from jkd.run import Run

pytestmark = pytest.mark.slow

STEPS = 4


def attempt(folder):
    """A run of a few steps from wherever it stands."""
    with Run.open(folder, CONFIG) as run:
        restored = run.restore(abstract())
        for step in range(restored[0] + 1 if restored else 1, STEPS + 1):
            run.log(step, {"epoch": step})
            run.save(step, make_state(step))
        run.finish({"last": STEPS})


def refused(folder, capfd, *words):
    with pytest.raises(UserError) as told:
        attempt(folder)
    message = str(told.value)
    assert "\n" not in message and capfd.readouterr().err == ""
    for word in (str(folder), *words):
        assert word in message
    return message


def goes_on(folder):
    attempt(folder)
    (folder / "summary.json").unlink()
    assert resume(folder) == STEPS


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own; a function sets its size."""
    mount = tmp_path / "disk"
    mount.mkdir()

    def resize(size, *options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={size}"]), "tmpfs", mount]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a disk may not be mounted here: {done.stderr.strip()}")

    resize("100m")
    resize.at = mount
    yield resize
    subprocess.run(["umount", "--lazy", mount], check=True)


@pytest.mark.parametrize("kibibytes", [4, 8, 16, 32, 100, 200, 300, 400, 600])
def test_a_full_disk(disk, capfd, kibibytes):
    folder = disk.at / "run"
    disk(f"{kibibytes}k", "remount")
    message = refused(folder, capfd, "No space left on device", f"the disk at {disk.at} has 0.")
    assert kibibytes < 100 or "a checkpoint takes up to 0.2 MiB" in message
    disk("100m", "remount")
    goes_on(folder)


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from jkd.experiments.cli import guard
from test_machine import attempt
attempt(Path({folder!r}) / "before")  # what is imported late needs files, too
resource.setrlimit(resource.{what}, ({soft}, {soft}))
guard("jkd", lambda: attempt(Path({folder!r}) / "run"))
"""


@pytest.mark.parametrize(
    ("what", "soft", "words"),
    [
        *(("RLIMIT_NOFILE", files, "Too many open files") for files in (12, 16, 20, 26)),
        *(("RLIMIT_FSIZE", size, "File too large") for size in (100, 10_000, 50_000)),
    ],
)
def test_a_limit_of_the_process(tmp_path, what, soft, words):
    """In a process of its own: there orbax leaves threads behind that wait for twenty minutes."""
    code = LIMITED.format(tests=str(Path(__file__).parent), folder=str(tmp_path), what=what, soft=soft)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert words in line and str(tmp_path / "run") in line
    goes_on(tmp_path / "run")


@pytest.mark.parametrize("moment", ["log", "save", "finish"])
def test_a_folder_that_is_removed_under_the_run(tmp_path, capfd, moment):
    folder = tmp_path / "run"
    with (
        pytest.raises(UserError, match="was removed while the run was writing"),
        Run.open(folder, CONFIG) as run,
    ):
        run.restore(abstract())
        for step in (1, 2, 3):
            if step == 3 and moment == "log":
                run._checkpoints.wait_until_finished()
                shutil.rmtree(folder)
            run.log(step, {"epoch": step})
            if step == 3 and moment == "save":
                run._checkpoints.wait_until_finished()
                shutil.rmtree(folder)
            run.save(step, make_state(step))
        run._checkpoints.wait_until_finished()
        if moment == "finish":
            shutil.rmtree(folder)
        run.finish({})
    assert capfd.readouterr().err == ""
