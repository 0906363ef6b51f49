"""Several processes train one run: as one process with as many devices, whatever becomes of one of them."""

import random
import signal
from pathlib import Path

import chex
import numpy as np
import pytest
from PIL import Image

import jkd
from jkd.run import read

TINY = f"--import={Path(__file__).parents[1] / 'tiny.py'}"
pytestmark = pytest.mark.slow


def flags(folder, *more):
    recipe = ["--teachers=tiny,tiny", "--student=tiny", "--batch-size=32", "--beta=1", "--epochs=4"]
    return [TINY, *recipe, "--teacher-epochs=2", f"--workdir={folder}", *more]


def start(command_line, processes, devices, method, *given):
    """Starts the processes as SLURM would."""
    job = random.randrange(10**6)
    started = []
    for number in range(processes):
        slurm = {
            "SLURM_JOB_ID": job,
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_NTASKS": processes,
            "SLURM_PROCID": number,
            "SLURM_LOCALID": number,
        }
        within = ("env", *(f"{name}={value}" for name, value in slurm.items()))
        started.append(command_line.start(method, *given, "--distributed", devices=devices, within=within))
    return started


def end(processes):
    """Waits; returns each one's status, output and errors."""
    told = [process.communicate(timeout=500) for process in processes]
    return [(process.returncode, *each) for process, each in zip(processes, told, strict=True)]


def wait_for(process, text):
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return
    pytest.fail(f"it ended without '{text}': {said}{process.stderr.read()}")


def came_to(folder):
    """A run's records, but for what depends on time and machine, and the student's variables."""
    machines = ("time/", "memory/")
    records = [
        {n: v for n, v in record.items() if not n.startswith(machines)} for record in read(folder).records
    ]
    return records, jkd.load(folder).variables


def assert_same(folder, other):
    chex.assert_trees_all_close(came_to(folder), came_to(other), rtol=1e-4, atol=1e-4)


def succeed(processes):
    ended = end(processes)
    assert [(status, errors) for status, _, errors in ended] == [(0, "")] * len(processes)
    assert all(not out for _, out, _ in ended[1:])  # the first prints
    return ended[0][1]


def test_processes_compute_what_as_many_devices_do(command_line):
    few = ("--teachers=tiny:untrained,tiny:untrained", "--epochs=1")
    for method in ("bomd", "mmkd"):
        succeed(start(command_line, 2, 4, method, *flags(f"{method}-of-2", *few)))
        succeed([command_line.start(method, *flags(f"{method}-of-1", *few), devices=8)])
        assert_same(command_line.folder / f"{method}-of-1", command_line.folder / f"{method}-of-2")
    # Of MMKD's buffer each process has saved its own part: what two have saved one can read, and back.
    for processes, devices, folder in ((1, 8, "mmkd-of-2"), (2, 4, "mmkd-of-1")):
        before = came_to(command_line.folder / folder)
        (command_line.folder / folder / "summary.json").unlink()
        if processes == 1:
            out = succeed([command_line.start("mmkd", *flags(folder, *few), devices=devices)])
        else:
            out = succeed(start(command_line, processes, devices, "mmkd", *flags(folder, *few)))
        assert "resumed at step" in out
        chex.assert_trees_all_equal(came_to(command_line.folder / folder), before)
    succeed(start(command_line, 8, 1, "bomd", *flags("bomd-of-8", *few)))
    assert_same(command_line.folder / "bomd-of-8", command_line.folder / "bomd-of-2")


COUNTS = """
import atexit, os
from pathlib import Path
from jkd.data.streamed import Streamed

read, image = [], Streamed.image
Streamed.image = lambda self, *given: (read.append(1), image(self, *given))[1]
by = Path(__file__).with_name("by-" + os.environ.get("SLURM_PROCID", "one"))
atexit.register(lambda: by.write_text(str(len(read))))
"""


def test_streamed_images_are_read_by_one_process_each(command_line, tmp_path):
    """Those of training, cropped, of BOMD's upper level and to test on; the look at all of them too."""
    pytest.importorskip("grain")
    images, generator = 0, np.random.default_rng(0)
    for part, count in (("train", 40), ("val", 7)):
        for name in ("ant", "bee"):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (12, 10, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / part / name / f"{number}.png")
                images += 1
    (tmp_path / "counts.py").write_text(COUNTS)
    given = (f"--dataset=folder:{tmp_path / 'images'}", "--image-size=8", "--stream", "--resized-crop=0.3")
    given += (f"--import={tmp_path / 'counts.py'}", f"--cache-dir={tmp_path / 'cache'}", "--batch-size=16")
    given += ("--teachers=tiny:untrained,tiny:untrained", "--epochs=1", "--held-out=0.2", "--every=2")
    succeed(start(command_line, 2, 1, "bomd", *flags("streamed-by-2", *given)))
    succeed([command_line.start("bomd", *flags("streamed-by-1", *given), devices=2)])
    assert_same(command_line.folder / "streamed-by-1", command_line.folder / "streamed-by-2")
    first, second, one = (int((tmp_path / f"by-{name}").read_text()) for name in ("0", "1", "one"))
    assert second > 0 and first + second == images + one


SLOW = """
import time
from jkd.training import loop

record = loop._epoch_record
loop._epoch_record = lambda *given: (time.sleep(1), record(*given))[1]
"""


@pytest.fixture
def slowly(tmp_path):
    """Makes epochs last, so that what comes in one finds the run at work."""
    (tmp_path / "slow.py").write_text(SLOW)
    return f"--import={tmp_path / 'slow.py'}"


@pytest.fixture(scope="module")
def undisturbed(command_line):
    succeed([command_line.start("bomd", *flags("undisturbed"), devices=2)])
    return command_line.folder / "undisturbed"


@pytest.mark.parametrize("victim", [0, 1])
def test_if_one_dies_the_others_end_and_the_run_goes_on(command_line, undisturbed, slowly, victim):
    folder = f"killed{victim}"
    processes = start(command_line, 2, 1, "bomd", *flags(folder, slowly))
    wait_for(processes[0], "epoch 2/")
    processes[victim].kill()
    survivor = processes[1 - victim]
    _, errors = survivor.communicate(timeout=60)
    assert survivor.returncode != 0
    assert "another process of this run has ended" in errors
    assert errors.count("\n") == 1, errors
    processes[victim].communicate()
    out = succeed(
        [command_line.start("bomd", *flags(folder, slowly), devices=2)]
    )  # with another number of processes
    assert "resumed at step" in out
    assert_same(command_line.folder / folder, undisturbed)


def test_preempted_in_one_process_all_save_at_the_same_step(command_line, undisturbed, slowly):
    processes = start(command_line, 2, 1, "bomd", *flags("preempted", slowly))
    wait_for(processes[0], "epoch 2/")
    processes[1].send_signal(signal.SIGTERM)
    (status, out, errors), (other, _, more) = end(processes)
    assert (status, other) == (128 + signal.SIGTERM,) * 2, errors + more
    assert "saved at step" in out
    assert read(command_line.folder / "preempted").summary is None
    assert "resumed at step" in succeed(start(command_line, 2, 1, "bomd", *flags("preempted", slowly)))
    assert_same(command_line.folder / "preempted", undisturbed)


def test_a_cluster_of_one_process_hears_signals_itself(command_line):
    given = (TINY, "--student=tiny", "--epochs=400", "--workdir=alone")
    (process,) = start(command_line, 1, 1, "scratch", *given)
    wait_for(process, "epoch 2/")
    process.send_signal(signal.SIGTERM)
    ((status, out, _),) = end([process])
    assert status == 128 + signal.SIGTERM and "saved at step" in out


def test_no_cluster_is_told_in_one_line(command_line):
    ended = command_line.run("bomd", *flags("nowhere"), "--distributed")
    assert ended.returncode == 2
    assert "--distributed" in ended.stderr and ended.stderr.count("\n") == 1
    assert not (command_line.folder / "nowhere").exists()


def test_the_first_process_asks_the_teachers_of_views_and_others_read_what_they_said(command_line):
    views = ("--teachers=tiny:untrained,tiny:untrained", "--teacher-views=1", "--teacher-outputs=said")
    out = succeed(start(command_line, 2, 1, "camkd", *flags("views-of-2", *views, "--epochs=2")))
    assert out.count("view 0: teachers asked about") == 1
    out = succeed([command_line.start("camkd", *flags("views-of-1", *views, "--epochs=2"), devices=2)])
    assert "teachers asked about" not in out
    assert_same(command_line.folder / "views-of-1", command_line.folder / "views-of-2")
