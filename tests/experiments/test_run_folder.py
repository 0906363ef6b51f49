"""The command line as a user meets it: a run's folder, resuming, several devices."""

import json
import signal
import time

import chex
import numpy as np
import pytest
import tiny

import jkd
from jkd import run

TINY = f"--import={tiny.__file__}"
BOMD = (TINY, "--teachers=tiny,resnet8", "--student=tiny", "--epochs=3", "--every=2", "--teacher-epochs=2")


def student(folder):
    return jkd.load(folder).variables


def metrics(folder):
    """The records of a run without their timings."""
    return [
        {name: value for name, value in record.items() if not name.startswith("time/")}
        for record in run.read(folder).records
    ]


@pytest.fixture(scope="module")
def finished(command_line):
    """An uninterrupted run of BOMD, its teachers trained on the way."""
    result = command_line.run("bomd", *BOMD, "--workdir=whole")
    assert result.returncode == 0, result.stderr
    return command_line.folder / "whole", result.stdout


def test_a_run_leaves_a_readable_folder(finished):
    folder, _ = finished
    config, records, summary, *_ = run.read(folder)
    assert config["hyperparameters"]["every"] == 2
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert summary["last"]["epoch"] == 3
    assert "test set" in summary["best"]["chosen_on"]
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert list((folder / "tensorboard").iterdir())
    session = json.loads((folder / "sessions.jsonl").read_text().splitlines()[0])
    assert "jax" in str(session) and "--workdir=whole" in str(session)
    for record in records:
        assert {"test/top1", "test/top5", "test/loss", "test/ece", "test/agreement"} <= record.keys()
        assert np.isclose(sum(record["train/weight_logits"]), 1, atol=1e-5)


def test_teachers_are_rated_before_they_teach(finished):
    _, output = finished
    rated = output.index("ensemble (mean of probabilities)")
    assert output.index("tiny-seed0") < rated < output.index("whole epoch 1/3")


def test_teacher_weights_move(finished):
    last = run.read(finished[0]).records[-1]
    assert np.ptp(last["train/weight_logits"]) > 0
    assert np.ptp(last["train/weight_features"]) > 0


def test_a_finished_run_is_not_repeated(command_line, finished):
    before = {path: path.stat().st_mtime_ns for path in finished[0].rglob("*.json")}
    result = command_line.run("bomd", *BOMD, "--workdir=whole")
    assert result.returncode == 0
    assert "is finished" in result.stdout
    assert before == {path: path.stat().st_mtime_ns for path in finished[0].rglob("*.json")}


def test_a_folder_of_another_configuration_is_refused(command_line, finished):
    result = command_line.run("bomd", *BOMD, "--workdir=whole", "--beta=2")
    assert result.returncode == 2
    assert "beta: 100.0 there, 2.0 here" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert run.read(finished[0]).summary is not None


@pytest.mark.slow
def test_a_killed_run_ends_like_an_uninterrupted_one(command_line, finished):
    folder = command_line.folder / "killed"
    rng = np.random.default_rng(0)
    kills = 0
    for _ in range(20):
        seen = len(run.read(folder).records) if (folder / "config.json").exists() else 0
        process = command_line.start("bomd", *BOMD, "--workdir=killed")
        # Until an epoch more is logged; the kill then falls into its saving or into the steps after it.
        while process.poll() is None and (
            not (folder / "config.json").exists() or len(run.read(folder).records) <= seen
        ):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.3))
        if process.poll() is not None:
            break
        command_line.kill(process)
        kills += 1
        if kills == 3:
            break
    assert kills >= 1
    result = command_line.run("bomd", *BOMD, "--workdir=killed")
    assert result.returncode == 0, result.stderr
    chex.assert_trees_all_equal(student(folder), student(finished[0]))
    assert metrics(folder) == metrics(finished[0])


@pytest.mark.slow
def test_sigterm_saves_says_so_and_exits(command_line, finished):
    folder = command_line.folder / "stopped"
    process = command_line.start("bomd", *BOMD, "--workdir=stopped")
    assert process.stdout is not None
    for line in process.stdout:
        if "stopped epoch 1/3" in line:
            break
    output = command_line.kill(process, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert "saved at step" in output
    assert run.read(folder).summary is None
    result = command_line.run("bomd", *BOMD, "--workdir=stopped")
    assert result.returncode == 0, result.stderr
    assert "resumed at step" in result.stdout
    chex.assert_trees_all_equal(student(folder), student(finished[0]))
    assert metrics(folder) == metrics(finished[0])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bomd", "mmkd"])
def test_eight_devices_compute_what_one_computes(method, command_line):
    # 608 kept images are nine steps of 64, and the tenth comes in the second epoch.
    flags = (TINY, "--teachers=tiny", "--teacher-epochs=2", "--student=tiny", "--epochs=2", "--every=2")
    flags += ("--beta=1",)  # at 100 running variances grow to 100, where float32 ends near the bound below
    students = []
    for devices in (1, 8):
        folder = f"{method}-devices{devices}"
        result = command_line.run(method, *flags, f"--workdir={folder}", devices=devices)
        assert result.returncode == 0, result.stderr
        students.append(student(command_line.folder / folder))
    chex.assert_trees_all_close(*students, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run(command_line):
    result = command_line.run(
        "scratch", "--student=resnet8", "--epochs=2", "--learning-rate=1e30", "--workdir=diverged"
    )
    assert result.returncode == 1
    assert "not finite at step" in result.stderr and "ce nan" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_run_is_a_teacher_for_the_next(command_line, finished):
    result = command_line.run(
        "aver", TINY, f"--teachers=tiny@{finished[0]}", "--student=tiny", "--epochs=1", "--workdir=next"
    )
    assert result.returncode == 0, result.stderr
    assert f"tiny@{finished[0]}" in result.stdout
