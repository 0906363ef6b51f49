"""A run whose images are read while it trains is the run that has them in memory, to the bit."""

import itertools
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import chex
import numpy as np
import pytest
from PIL import Image
from tiny import settings

import jkd
from jkd import data, run
from jkd.data.streamed import Streamed
from jkd.machine.process import Interrupted
from jkd.training import together
from jkd.training.wait import Wait

pytest.importorskip("grain")

TINY = Path(__file__).parents[1] / "tiny.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of two colours, of several sizes."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for part, count in (("train", 40), ("val", 6)):
        for label, name in enumerate(("red", "blue")):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 200, (10 + index % 3, 12, 3), dtype=np.uint8)
                pixels[..., 2 * label] += 50
                Image.fromarray(pixels).save(folder / part / name / f"{index}.png")
    return folder


def given(folder, place, **more):
    images = {"dataset": f"folder:{folder}", "image_size": 8, "batch_size": 16}
    return settings(place) | images | {"cache_dir": str(folder / ".cache")} | more


def assert_same(one, other):
    chex.assert_trees_all_equal(one.variables, other.variables)
    records = [
        [
            {name: value for name, value in record.items() if not name.startswith(("time/", "memory/"))}
            for record in run.read(student.folder).records
        ]
        for student in (one, other)
    ]
    assert records[0] == records[1] and len(records[0]) == 2


def test_it_learns_the_same_and_says_how_long_it_waited(folder, tmp_path, capsys):
    one = jkd.distil("scratch", **given(folder, tmp_path / "one", stream=False))
    other = jkd.distil("scratch", **given(folder, tmp_path / "other", stream=True))
    assert_same(one, other)
    shares = [record["time/waited_share"] for record in run.read(other.folder).records]
    assert all(0 <= share <= 1 for share in shares)
    told = "the device waited for images" in capsys.readouterr().out
    assert told == (max(shares) > 0.05)
    assert "time/waited_share" not in run.read(one.folder).records[0]
    dataset = data.load(f"folder:{folder}", image_size=8, cache_dir=str(folder / ".cache"), stream=True)
    assert other.evaluate(dataset)["top1"] == pytest.approx(other.summary["last"]["test/top1"])


def test_cores_that_cannot_keep_up_are_told(folder, tmp_path, monkeypatch, capsys):
    image = Streamed.image
    monkeypatch.setattr(Streamed, "image", lambda *given: (time.sleep(0.02), image(*given))[1])
    student = jkd.distil("scratch", **given(folder, tmp_path, stream=True))
    first, second = (record["time/waited_share"] for record in run.read(student.folder).records)
    assert first > 0.05 and second > 0.2  # much more, where other programs leave the cores to this
    assert "run epoch 1: the device waited for images in" in capsys.readouterr().out


class Result:
    """Of a call, for as long as the device is at it."""

    ready = False

    def is_ready(self):
        return self.ready


def test_a_device_waits_from_when_it_is_done_until_images_are_there():
    wait, result = Wait(), Result()
    wait.begins_after({"loss": result})
    wait.looks()
    time.sleep(0.05)
    wait.ends()
    assert wait.seconds == 0, "it was busy all the time"
    wait.begins_after({"loss": result})
    result.ready = True
    wait.looks()
    time.sleep(0.05)
    wait.looks()
    wait.ends()
    assert 0.05 <= wait.seconds < 5


@pytest.fixture
def stop_after(monkeypatch):
    """Makes a run be asked to stop after so many calls."""

    def after(calls):
        counted = itertools.count(1)

        @contextmanager
        def signals():
            yield lambda step: signal.SIGTERM if next(counted) >= calls else 0

        monkeypatch.setattr(together, "_signals", signals)

    yield after


@pytest.mark.slow
def test_stopped_within_an_epoch_it_goes_on_to_the_bit_with_crops_of_its_own(
    folder, tmp_path, stop_after, monkeypatch
):
    crops = {"resized_crop": 0.2, "stream": True}
    whole = jkd.distil("scratch", **given(folder, tmp_path / "whole", **crops))
    stop_after(2)
    with pytest.raises(Interrupted, match="saved at step 2 of"):
        jkd.distil("scratch", **given(folder, tmp_path / "stopped", **crops))
    monkeypatch.undo()
    assert_same(whole, jkd.distil("scratch", **given(folder, tmp_path / "stopped", **crops)))


@pytest.mark.slow
def test_with_held_out_images_many_steps_a_call_and_killed(folder, tmp_path, command_line):
    """BOMD, whose upper level has images of its own in every step.

    All that is learned is the same to the bit. The outer loss as it is told is a mean, which the compiler
    sums in another order where it gathers the labels in the same program.
    """
    flags = [
        f"--import={TINY}",
        "--teachers=tiny",
        "--student=tiny",
        "--epochs=12",
        "--batch-size=16",
        "--every=2",
    ]
    flags += [f"--dataset=folder:{folder}", "--image-size=8", f"--teacher-dir={tmp_path / 'teachers'}"]
    flags += ["--steps-per-call=2", "--teacher-epochs=1", "--checkpoint-every=1", "--validation=0.1"]
    done = command_line.run("bomd", *flags, "--no-stream", f"--workdir={tmp_path / 'resident'}")
    assert done.returncode == 0, done.stderr
    streamed = [*flags, "--stream", f"--workdir={tmp_path / 'streamed'}"]
    process = command_line.start("bomd", *streamed)
    for line in process.stdout:
        if "streamed epoch 2/" in line:
            break
    command_line.kill(process)
    assert (tmp_path / "streamed").exists() and not (tmp_path / "streamed" / "summary.json").exists()
    done = command_line.run("bomd", *streamed)
    assert done.returncode == 0 and "resumed at step" in done.stdout, done.stderr
    one, other = (jkd.load(tmp_path / name) for name in ("resident", "streamed"))
    chex.assert_trees_all_equal(one.variables, other.variables)
    for left, right in zip(run.read(one.folder).records, run.read(other.folder).records, strict=True):
        for name in left:
            if name == "train/outer_loss":
                assert left[name] == pytest.approx(right[name], rel=1e-6)
            elif not name.startswith(("time/", "memory/")):
                assert left[name] == right[name], name
