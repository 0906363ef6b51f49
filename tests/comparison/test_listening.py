"""Who was listened to: shares, points lost and gained, from folders of runs that are made up."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from jkd.experiments.compare import run_compare
from jkd.experiments.listening import run_listening

CLASSES = 4
GOOD = ["a-seed0", "a-seed1"]
EXPERTS = ["a-seed0:classes=0-1", "a-seed1:classes=2-3"]


def write_run(folder, row, method, seed, top1, teachers, weights=None, by_class=None):
    """A finished run of two epochs; weights are those of the last."""
    path = folder / f"{row}-0123abcd-seed{seed}"
    path.mkdir(parents=True)
    config = {"method": method, "seed": seed, "dataset": {"num_classes": CLASSES, "classes": None}}
    records = [{"step": step, "epoch": step} for step in (1, 2)]
    if weights is not None:
        for record, values in zip(records, (np.full(len(weights), 1 / len(weights)), weights), strict=True):
            record["train/weight_logits"] = list(values)
            record["train/weight_logits_std"] = [0.0] * len(weights)
    if by_class is not None:
        records[-1]["train/class_weight_logits"] = by_class
    rated = [{"name": name, "top1": 0.6} for name in teachers]
    (path / "config.json").write_text(json.dumps(config))
    (path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (path / "summary.json").write_text(json.dumps({"teachers": rated, "last": {"test/top1": top1}}))


def cells_of(text):
    """The table: cells by row and column, of the first line of each row."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    header, _, *rows = lines
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows if row[0]}


@pytest.fixture
def compared(tmp_path):
    """Three teachers of which the last is bad, and the same rows without it."""
    three = [*GOOD, "a-seed2:untrained"]
    for seed, noise in ((0, 0.0), (1, 0.01)):
        write_run(tmp_path / "bad", "even", "distill", seed, 0.50 + noise, three, [1 / 3] * 3)
        write_run(tmp_path / "bad", "trust", "distill", seed, 0.56 + noise, three, [0.5, 0.4, 0.1 + noise])
        write_run(tmp_path / "bad", "other", "bomd", seed, 0.52 + noise, three, [2.0, 1.0, 1.0])
        write_run(tmp_path / "good", "even", "distill", seed, 0.57 + noise, GOOD, [0.5, 0.5])
        write_run(tmp_path / "good", "trust", "distill", seed, 0.57 + noise, GOOD, [0.5, 0.5])
    write_run(tmp_path / "bad", "alone", "scratch", 0, 0.4, [])
    return tmp_path


def test_the_measures_of_a_bad_teacher(compared, capsys):
    bad, good = compared / "bad", compared / "good"
    run_listening([f"--comparison={bad}", "--suspects=3", f"--without={good}", "--uniform=even"])
    text = (bad / "listening.md").read_text()
    assert text in capsys.readouterr().out
    assert "- Suspects: a-seed2:untrained" in text
    cells = cells_of(text)
    assert cells["trust"]["top-1 %"] == "56.50 ± 0.71"
    assert cells["trust"]["on the suspects"] == "0.10 ± 0.01", "weights that do not sum to one are shares"
    assert cells["other"]["on the suspects"].startswith("0.25")
    assert cells["trust"]["lost against leaving them out"].startswith("+1.00 [")
    assert cells["even"]["lost against leaving them out"].startswith("+7.00 [")
    assert cells["other"]["lost against leaving them out"] == "–", "there is no such row without them"
    assert cells["trust"]["gained over uniform weights"].startswith("+6.00 [")
    assert cells["other"]["gained over uniform weights"].startswith("+2.00 ["), "by --uniform"
    assert cells["even"]["gained over uniform weights"] == "–"
    assert cells["alone"]["gained over uniform weights"] == "–"
    assert not (bad / "listening.png").exists(), "nobody is an expert"
    run_listening([f"--comparison={bad}", "--uniform=even,trust=other"])
    cells = cells_of((bad / "listening.md").read_text())
    assert cells["trust"]["gained over uniform weights"].startswith("+4.00 ["), "a row's own counterpart"


def test_experts_are_measured_by_class_and_drawn(tmp_path):
    # Joint shares of teachers and classes, as an epoch averages them; no example is of the last class.
    asks = np.array([[0.9, 0.7, 0.2, 0.0], [0.1, 0.3, 0.8, 1.0]]) * [0.5, 0.3, 0.2, 0.0]
    write_run(tmp_path, "asks", "distill", 0, 0.6, EXPERTS, asks.sum(1).tolist(), asks.tolist())
    write_run(tmp_path, "fixed", "bomd", 0, 0.5, EXPERTS, [0.7, 0.3])
    run_listening([f"--comparison={tmp_path}"])
    cells = cells_of((tmp_path / "listening.md").read_text())
    assert cells["asks"]["on who saw the class"] == f"{(0.9 + 0.7 + 0.8) / 3:.2f}"
    assert cells["fixed"]["on who saw the class"] == "0.50"
    assert "on the suspects" not in cells["asks"]
    picture = np.asarray(Image.open(tmp_path / "listening.png").convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100, "there are colours to see"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--comparison= is empty"),
        (["--comparison=nowhere"], "nowhere has no finished run with teachers"),
        (["--comparison=bad", "--suspects=4"], "--suspects=4: there are teachers 1 to 3"),
        (["--comparison=bad", "--suspects=1", "--without=good"], "without the suspects are a-seed1, a-seed2"),
        (["--comparison=bad", "--uniform=evn"], "--uniform=evn: evn is no finished row.*did you mean 'even'"),
    ],
)
def test_mistakes_are_told_in_one_line(compared, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(compared)
    with pytest.raises(SystemExit) as stopped:
        run_listening(flags)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1 and re.search(words, err)


def test_two_runs_of_a_row_and_seed_are_not_mixed(compared, monkeypatch, capsys):
    monkeypatch.chdir(compared)
    (compared / "bad" / "even-0123abcd-seed0").rename(compared / "bad" / "even-seed0")
    write_run(compared / "bad", "even", "distill", 0, 0.9, GOOD, [0.5, 0.5])
    with pytest.raises(SystemExit):
        run_listening(["--comparison=bad"])
    assert "two runs of even with seed 0" in capsys.readouterr().err


RECIPE = """
[flags]
dataset = "npz:{data}"
student = "tiny"
epochs = 2
batch_size = 64
teacher_epochs = 40
seeds = [0]
methods = ["uniform=distill", "trust=distill", "bomd"]
baseline = "uniform"
trust = {{ weighting = "confidence" }}
[settings.good]
teachers = ["tiny"]
workdir = "good"
[settings.random]
teachers = ["tiny", "tiny:untrained"]
workdir = "random"
[settings.experts]
teachers = ["tiny:classes=0-1", "tiny:classes=2-3"]
workdir = "experts"
"""


@pytest.mark.slow
def test_mixed_teachers_from_the_recipe_to_the_picture(tiny_npz, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed.toml").write_text(RECIPE.format(data=tiny_npz))
    for setting in ("good", "random", "experts"):
        run_compare([f"--recipe=mixed.toml:{setting}"])
    run_listening(["--comparison=random", "--suspects=2", "--without=good"])
    cells = cells_of((tmp_path / "random" / "listening.md").read_text())
    assert float(cells["trust"]["on the suspects"]) < 0.4 < float(cells["uniform"]["on the suspects"])
    assert re.fullmatch(r"[+-]\d+\.\d\d", cells["bomd"]["lost against leaving them out"])
    run_listening(["--comparison=experts", "--uniform=uniform"])
    cells = cells_of((tmp_path / "experts" / "listening.md").read_text())
    assert float(cells["trust"]["on who saw the class"]) > 0.6
    assert float(cells["uniform"]["on who saw the class"]) == 0.5
    assert (tmp_path / "experts" / "listening.png").exists()
