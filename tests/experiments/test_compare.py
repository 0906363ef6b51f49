"""The comparison as a user meets it: tables, kills, shards, runs that diverge, tuning, mistakes."""

import csv
import json
import re
import signal
import time

import numpy as np
import pytest
import tiny

from jkd import run
from jkd.experiments.compare import run_compare

TINY = f"--import={tiny.__file__}"
SHARED = ("--seeds=0,1", "--epochs=1", "--teachers=tiny", "--student=tiny", "--no-teacher-nesterov", TINY)
FLAGS = ("--methods=scratch,aver", *SHARED)


def lines(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def measured(folder, seeds="01"):
    """The runs of a comparison without their timings."""
    return [
        {name: value for name, value in line.items() if name != "images_per_second"}
        for line in lines(folder / "runs.csv")
        if line["seed"] in seeds
    ]


@pytest.fixture(scope="module")
def whole(command_line):
    """A comparison that nothing disturbed."""
    result = command_line.run("compare", *FLAGS, "--workdir=whole_comparison")
    assert result.returncode == 0, result.stderr
    return command_line.folder / "whole_comparison", result.stdout


def test_the_table_holds_what_the_runs_found(whole):
    folder, output = whole
    top1 = {
        (method, seed): run.read(folder / f"{method}-seed{seed}").summary["last"]["test/top1"]
        for method in ("scratch", "aver")
        for seed in (0, 1)
    }
    scratch, aver = lines(folder / "table.csv")
    assert [scratch["method"], aver["method"]] == ["scratch", "aver"]
    np.testing.assert_allclose(float(aver["top1_mean"]), (top1["aver", 0] + top1["aver", 1]) / 2)
    differences = [top1["scratch", seed] - top1["aver", seed] for seed in (0, 1)]
    np.testing.assert_allclose(float(scratch["difference"]), np.mean(differences))
    text = (folder / "table.md").read_text()
    assert text in output
    for fact in (
        "1 epochs",
        "Nesterov's momentum (plain where there is no teacher)",
        "80 images of 4 classes",
        "tiny-seed0",
        "jax 0.",
        "--workdir=whole_comparison",
    ):
        assert fact in text, fact
    for picture in ("accuracy.png", "differences.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    assert output.count("teachers:\n") == 1, "the teachers are rated once for all runs"


@pytest.mark.slow
def test_a_killed_comparison_keeps_finished_runs_and_ends_like_an_undisturbed_one(command_line, whole):
    folder = command_line.folder / "killed_comparison"
    flags = (*FLAGS, "--seeds=0", "--workdir=killed_comparison")
    process = command_line.start("compare", *flags)
    first, second = folder / "scratch-seed0" / "summary.json", folder / "aver-seed0" / "config.json"
    while process.poll() is None and not (first.exists() and second.exists()):
        time.sleep(0.01)
    assert process.poll() is None
    command_line.kill(process, signal.SIGKILL)
    before = first.stat().st_mtime_ns
    result = command_line.run("compare", *flags)
    assert result.returncode == 0, result.stderr
    assert first.stat().st_mtime_ns == before
    assert measured(folder) == measured(whole[0], seeds="0")


def test_a_finished_run_with_other_records_is_told(command_line, whole):
    path = whole[0] / "scratch-seed0" / "metrics.jsonl"
    before = path.read_bytes()
    path.write_bytes(before.replace(b'"test/top1": 0.', b'"test/top1": 0.9'))
    result = command_line.run("compare", *FLAGS, "--workdir=whole_comparison")
    path.write_bytes(before)
    assert result.returncode == 2
    assert "scratch-seed0/metrics.jsonl is damaged" in result.stderr.splitlines()[-1]
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_shards_share_teachers_one_is_preempted_and_they_merge_into_the_same_tables(command_line, whole):
    # All begin at once, without teachers: one of them trains these, the others wait.
    flags = (*FLAGS, "--workdir=sharded", "--teacher-dir=shards_teachers")
    shards = [command_line.start("compare", *flags, f"--shard={i}/3") for i in (1, 2, 3)]
    folder = command_line.folder / "sharded"
    of_the_third = folder / "scratch-seed1"
    while shards[2].poll() is None and not (of_the_third / "config.json").exists():
        time.sleep(0.01)
    assert "the same command goes on from there" in command_line.kill(shards[2], signal.SIGTERM)
    assert shards[2].returncode == 128 + signal.SIGTERM
    assert not (of_the_third / "summary.json").exists()
    shards[2] = command_line.start("compare", *flags, "--shard=3/3")
    for process in shards:
        out, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        assert "the same command without it makes the tables" in out
    assert not (folder / "table.md").exists()
    result = command_line.run("compare", *flags)
    assert result.returncode == 0, result.stderr
    assert " epoch 1/1" not in result.stdout, "nothing was left to train"
    assert measured(folder) == measured(whole[0])


@pytest.mark.slow
def test_a_run_that_diverges_is_told_in_the_table_and_others_go_on(command_line, whole):
    # In the folder of the comparison above, so that what did not change is not repeated.
    flags = (*FLAGS, "--workdir=whole_comparison", "--aver.alpha=1e38", "--baseline=scratch")
    result = command_line.run("compare", *flags)
    assert result.returncode == 0, result.stderr
    states = [(line["method"], line["state"]) for line in measured(whole[0])]
    assert states == [("scratch", "finished"), ("aver", "diverged")] * 2
    text = (whole[0] / "table.md").read_text()
    assert re.search(r"aver seed 1 diverged .*: the loss is not finite at step \d+", text)
    assert "Set for aver: alpha 1e+38" in text
    again = command_line.run("compare", *flags)
    assert again.returncode == 0 and "not finite" not in again.stdout.split("| method")[0]


@pytest.mark.slow
def test_a_method_has_a_second_row_by_another_name(command_line, whole):
    flags = (*FLAGS, "--methods=aver,weak=aver", "--weak.alpha=0", "--seeds=0", "--workdir=whole_comparison")
    result = command_line.run("compare", *flags)
    assert result.returncode == 0, result.stderr
    assert [line["method"] for line in measured(whole[0])] == ["aver", "weak"]
    config = run.read(next(whole[0].glob("weak-*-seed0"))).config
    assert (config["method"], config["hyperparameters"]["alpha"]) == ("aver", 0.0)
    assert "Set for weak: aver: alpha 0.0" in (whole[0] / "table.md").read_text()


@pytest.mark.slow
def test_tuning_looks_at_training_images_alone(command_line, whole):
    flags = (*FLAGS, "--seeds=0", "--workdir=whole_comparison", "--tune", "--tune-trials=2")
    flags += ("--tune-seeds=7,8",)
    result = command_line.run("compare", *flags)
    assert result.returncode == 0, result.stderr
    trials = json.loads((whole[0] / "tuning.json").read_text())["trials"]
    assert [trial["row"] for trial in trials] == ["aver", "aver"], "scratch has nothing to choose"
    (chosen,) = (trial for trial in trials if trial["chosen"])
    assert chosen["top1"] == max(trial["top1"] for trial in trials)
    for trial in trials:
        assert set(trial["by_seed"]) == {"7", "8"}
        assert trial["top1"] == pytest.approx(np.mean(list(trial["by_seed"].values())))
    contents = run.read(next((whole[0] / "tuning").iterdir()))
    assert contents.config["dataset"]["validation"] == 0.1
    cell = run.read(whole[0] / "aver-seed0")
    assert contents.config["teachers"] != cell.config["teachers"], "nor have their teachers seen them"
    assert "learned from" not in str(contents.summary["notes"])
    assert "validation/top1" in contents.records[-1]
    assert "tuning.json" in (whole[0] / "table.md").read_text()


def test_other_settings_in_the_same_folder_are_refused_before_teachers_are_trained(command_line, whole):
    flags = (*FLAGS, "--workdir=whole_comparison", "--teacher-dir=other_teachers", "--learning-rate=0.01")
    result = command_line.run("compare", *flags)
    assert result.returncode == 2
    assert "whole_comparison/scratch-seed0 belongs to another configuration" in result.stderr
    assert "learning_rate: 0.05 there, 0.01 here" in result.stderr
    assert not (command_line.folder / "other_teachers").exists()


MISTAKES = {
    "unknown method": (["--methods=aver,bond"], "bond", "did you mean 'bomd'"),
    "unknown flag of a method": (["--methods=aver,bomd", "--bomd.betta=2"], "did you mean '--bomd.beta'"),
    "flag of a method not compared": (["--methods=aver", "--bomd.beta=2"], "bomd is not among"),
    "value of a method's flag": (["--methods=aver", "--aver.alpha=-1"], "aver: --alpha=-1.0", "at least 0"),
    "a method twice": (["--methods=aver,aver"], "aver is there twice"),
    "two rows of a name": (["--methods=twin=aver,twin=bomd"], "two rows are called twin"),
    "a row of another method's name": (["--methods=camkd=aver"], "camkd is another method"),
    "a row with a name for no folder": (["--methods=a/b=aver"], "a/b=aver", "mine=aver"),
    "unknown method of a row": (["--methods=mine=bond"], "did you mean 'bomd'"),
    "unknown flag of a row": (["--methods=aver,flat=bomd", "--flat.betta=2"], "did you mean '--flat.beta'"),
    "no seeds": (["--seeds="], "--seeds=0,1,2"),
    "a seed that is no number": (["--seeds=0,x"], "list of int", "0,x"),
    "negative seed to tune with": (["--tune-seeds=-1"], "--tune-seeds: -1 is negative"),
    "no seeds to tune with": (["--tune-seeds="], "--tune-seeds=1000,1001"),
    "negative seed": (["--seeds=0,-1"], "-1 is negative"),
    "baseline that is not compared": (["--methods=aver", "--baseline=scratch"], "--baseline=scratch"),
    "shard out of range": (["--shard=5/4"], "--shard=5/4", "I from 1 to N"),
    "seed, singular": (["--seed=1"], "did you mean '--seeds'"),
    "unknown student": (["--student=resnet88"], "did you mean 'resnet8'"),
    "unknown teacher": (["--methods=scratch,aver", "--teachers=vgg1"], "vgg1"),
    "impossible folder": (["--workdir=/dev/null/x"], "/dev/null/x", "Not a directory"),
    "unknown recipe": (["--recipe=vgg13-vgg7"], "did you mean 'vgg13-vgg8'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_told_in_one_line(capsys, tmp_path, monkeypatch, name):
    flags, *words = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run_compare(flags)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir()), "nothing was begun"
    for word in words:
        assert word in err
