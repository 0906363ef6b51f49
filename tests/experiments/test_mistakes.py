"""A user's mistakes: one line that names it, exit status 2, no traceback, nothing begun."""

import errno
import os
import re
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jkd import models
from jkd.experiments.cli import guard, run_method
from jkd.interop.torch import to_state_dict

MISTAKES = {
    "unknown architecture": (["--student=resnet88"], "resnet88", "did you mean 'resnet8'"),
    "unknown teacher": (["--teachers=vgg1"], "vgg1", "did you mean 'vgg1"),
    "unknown flag": (["--teecher-dir=x"], "--teecher-dir", "did you mean '--teacher-dir'"),
    "unknown choice": (["--estimator=unroled"], "unroled", "did you mean 'unrolled'"),
    "no teachers": (["--teachers="], "no teacher", "resnet14"),
    "teacher not there": (["--teachers=resnet8@nowhere"], "nowhere", "state-dict file"),
    "unknown data set": (["--dataset=cifar1000"], "cifar1000", "did you mean"),
    "no such file": (["--dataset=npz:nowhere.npz"], "nowhere.npz", ""),
    "not a number": (["--epochs=ten"], "ten", "int"),
    "out of range": (["--momentum=1.5"], "1.5", "below 1"),
    "not finite": (["--alpha=nan"], "nan", "finite"),
    "impossible workdir": (["--workdir=/dev/null/x"], "/dev/null/x", "--workdir"),
    "batch too large": (["--batch-size=5000"], "5000", "training images"),
}


def mistake(capsys, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run_method("bomd", flags)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "teachers").exists()
    assert not (tmp_path / "runs").exists()
    return err


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_told_in_one_line(capsys, tmp_path, monkeypatch, name):
    flags, *words = MISTAKES[name]
    err = mistake(capsys, tmp_path, monkeypatch, flags)
    for word in words:
        assert word in err


def test_teacher_of_other_classes(capsys, tmp_path, monkeypatch):
    entries = tiny_state_dict(classes=7)
    np.savez(tmp_path / "teacher.npz", **entries)
    err = mistake(capsys, tmp_path, monkeypatch, ["--teachers=resnet8@teacher.npz"])
    assert "knows 7 classes, the data set has 10" in err


def test_state_dict_with_a_missing_entry(capsys, tmp_path, monkeypatch):
    entries = tiny_state_dict(classes=10)
    del entries["layer1.0.conv1.weight"]
    np.savez(tmp_path / "teacher.npz", **entries)
    err = mistake(capsys, tmp_path, monkeypatch, ["--teachers=resnet8@teacher.npz"])
    assert "layer1.0.conv1.weight" in err


def test_truncated_state_dict(capsys, tmp_path, monkeypatch):
    np.savez(tmp_path / "teacher.npz", **tiny_state_dict(classes=10))
    whole = (tmp_path / "teacher.npz").read_bytes()
    (tmp_path / "teacher.npz").write_bytes(whole[: len(whole) // 2])
    err = mistake(capsys, tmp_path, monkeypatch, ["--teachers=resnet8@teacher.npz"])
    assert "teacher.npz" in err


def tiny_state_dict(classes):
    model = models.create("resnet8", classes)
    variables = jax.jit(model.init)(jax.random.key(0, impl="rbg"), np.zeros((1, 16, 16, 3), np.float32))
    return dict(to_state_dict(variables))


def test_in_a_real_process(command_line):
    result = command_line.run("bomd", "--students=resnet8")
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert "did you mean '--student'" in result.stderr


def test_batch_that_does_not_divide_by_the_devices(command_line):
    result = command_line.run("scratch", "--batch-size=60", devices=8)
    assert result.returncode == 2
    assert "60" in result.stderr and "8 devices" in result.stderr and "56" in result.stderr


@pytest.mark.parametrize("name", ["bomd", "aver", "scratch", "teacher"])
def test_help_shows_each_flag_with_its_default(command_line, name):
    result = command_line.run(name, "--help-all")
    assert result.returncode == 0
    assert "--epochs" in result.stdout and "(default: 240; digits" in result.stdout
    assert "--checkpoint-every" in result.stdout


def test_help_is_what_most_runs_need(capsys):
    with pytest.raises(SystemExit) as stopped:
        run_method("bomd", ["--help"])
    text = capsys.readouterr().out
    assert stopped.value.code == 0
    for flag in ("--dataset", "--teachers", "--student", "--epochs", "--beta", "--upper-step", "--plan"):
        assert f"  {flag} " in text
    assert "--checkpoint-every" not in text and len(text.splitlines()) < 85
    assert re.search(r"^--help-all shows \d\d more", text, re.MULTILINE)


def test_a_full_disk_is_told_in_one_line_and_other_failures_are_not_hidden(capsys):
    def fail(number):
        raise OSError(number, os.strerror(number), "metrics.jsonl")

    with pytest.raises(SystemExit) as stopped:
        guard("jkd", lambda: fail(errno.ENOSPC))
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert "No space left on device (metrics.jsonl)" in err and len(err.splitlines()) == 1
    with pytest.raises(OSError):
        guard("jkd", lambda: fail(errno.EBADF))


@pytest.mark.parametrize(
    ("file", "spec", "named"),
    [
        ("nearest.py", None, "python nearest.py"),
        ("/home/me/.venv/bin/jkd", None, "jkd bomd"),
        ("/x/jkd/experiments/__main__.py", "jkd.experiments.__main__", "python -m jkd.experiments.bomd"),
        ("/x/mine/train.py", "mine.train", "python -m mine.train"),
        ("/x/mine/__main__.py", "mine.__main__", "python -m mine"),
    ],
)
def test_a_mistake_is_told_under_the_name_of_what_was_run(capsys, monkeypatch, file, spec, named):
    main = SimpleNamespace(__file__=file, __spec__=spec and SimpleNamespace(name=spec))
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(SystemExit):
        run_method("bomd", ["--epochs=ten"])
    assert capsys.readouterr().err.startswith(f"{named}: --epochs")
