"""What a run is: the same from Python and from flags, wherever its parts lie; another if they change."""

import os
import shutil

import numpy as np
import pytest
from tiny import Tiny

import jkd
from jkd.experiments.cli import run_method
from jkd.experiments.compare import run_compare
from jkd.experiments.own_code import bring
from jkd.interop import names
from jkd.methods import METHODS
from jkd.planning.identity import digest

OWN = [name for name, method in METHODS.items() if method.__module__.startswith("jkd.")]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("method", OWN)
def test_python_and_the_command_line_mean_the_same_run(method, capsys):
    flags = ["--epochs=3", "--learning-rate=1", "--seed=7", "--dataset=digits"]
    given = {"epochs": 3, "learning_rate": 1, "seed": np.int64(7), "dataset": "digits"}
    if method != "scratch":
        flags.append("--teachers=resnet8,resnet8")
        given["teachers"] = ["resnet8", "resnet8"]
    run_method(method, [*flags, "--plan"])
    printed = capsys.readouterr().out.strip()
    assert printed == str(jkd.plan(method, **given))
    assert f"-seed7-{digest(jkd.plan(method, **given).identity)}" in printed


def test_a_default_spelled_out_is_the_same_run():
    left = jkd.plan("bomd")
    spelled = jkd.plan("bomd", temperature=4, beta=100, learning_rate=0.05, epochs=10, flip=False)
    assert left.identity == spelled.identity and left.folder == spelled.folder
    assert left.identity["recipe"]["learning_rate"] == 0.05


def test_momentum_is_set_by_role_and_teachers_whose_own_does_not_change_stay():
    default = jkd.plan("aver", teachers=["resnet8"])
    plain = jkd.plan("aver", teachers=["resnet8"], teacher_nesterov=False)
    both = jkd.plan("aver", teachers=["resnet8"], nesterov=False)
    student = jkd.plan("aver", teachers=["resnet8"], nesterov=False, teacher_nesterov=True)

    def forms(plan):
        return plan.identity["recipe"]["nesterov"], plan.teachers[0].identity["recipe"]["nesterov"]

    assert [forms(plan) for plan in (default, plain, both, student)] == [
        (True, True),
        (True, False),
        (False, False),
        (False, True),
    ]
    assert student.teachers[0].folder == default.teachers[0].folder
    assert plain.teachers[0].folder == both.teachers[0].folder != default.teachers[0].folder
    alone = jkd.plan("scratch", teacher_nesterov=False)
    assert alone.identity == jkd.plan("scratch", nesterov=False).identity, "it has no teacher to learn from"


def test_a_comparison_means_the_same_too(tiny_npz, monkeypatch):
    seen = []
    monkeypatch.setattr("jkd.comparison.cells.make_ready", lambda cells: seen.append(cells) or exit())
    flags = [f"--dataset=npz:{tiny_npz}", "--teachers=resnet8", "--epochs=1", "--seeds=0", "--bomd.beta=3"]
    with pytest.raises(SystemExit):
        run_compare(["--methods=scratch,bomd", *flags])
    with pytest.raises(SystemExit):
        given = {"dataset": f"npz:{tiny_npz}", "teachers": ["resnet8"], "epochs": 1, "seeds": [0]}
        jkd.compare(["scratch", "bomd"], **given, bomd={"beta": 3})
    one, other = seen
    assert [cell.plan.folder for cell in one] == [cell.plan.folder for cell in other]
    assert [cell.plan.identity for cell in one] == [cell.plan.identity for cell in other]
    alone = jkd.plan("bomd", dataset=f"npz:{tiny_npz}", teachers=["resnet8"], epochs=1, beta=3)
    assert alone.identity == one[1].plan.identity, "a cell is the run that it would be alone"


def test_the_same_images_under_another_name_are_the_same_run(tiny_npz, tmp_path):
    first = jkd.plan("scratch", dataset=f"npz:{tiny_npz}", epochs=1)
    shutil.copy(tiny_npz, tmp_path / "renamed.npz")
    first.folder.mkdir(parents=True)
    second = jkd.plan("scratch", dataset=f"npz:{tmp_path / 'renamed.npz'}", epochs=1)
    assert first.identity == second.identity
    assert first.folder == second.folder


def teacher(scale=1.0, **view):
    variables = {"matrix": scale * np.ones((8 * 8 * 3, 10), np.float32)}
    return jkd.Teacher(lambda v, x: x.reshape(len(x), -1) @ v["matrix"], variables, name="mine", **view)


def test_other_weights_or_another_view_of_a_teacher_are_another_run():
    plans = [
        jkd.plan("aver", teachers=[given], image_size=8)
        for given in (teacher(), teacher(), teacher(2.0), teacher(mean=0.5), teacher(std=2))
    ]
    identities = [plan.identity for plan in plans]
    assert identities[0] == identities[1]
    assert len({str(identity) for identity in identities}) == 4


def test_the_same_weights_under_another_path_are_the_same_run(tmp_path):
    shapes = {key: entry.shape for key, entry in names.entries("resnet8").items()}
    weights = {key: np.ones(shape, np.float32) for key, shape in shapes.items()}
    weights |= {"fc.weight": np.ones((10, 64), np.float32), "fc.bias": np.zeros(10, np.float32)}
    plans = []
    for place, scale in (("first.npz", 1.0), ("elsewhere/copy.npz", 1.0), ("other.npz", 2.0)):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        np.savez(path, **weights | {"fc.bias": scale * np.ones(10, np.float32)})
        plans.append(jkd.plan("aver", teachers=[f"resnet8@{path}"]))
    first, copy, other = plans
    assert first.identity == copy.identity and first.folder == copy.folder
    assert first.identity != other.identity


METHOD = """
import jkd
from jkd.methods.aver import aver
from beside import FACTOR

def {name}(*, alpha: "float" = 1.0):
    return aver(alpha=FACTOR * alpha)

jkd.methods.register("{name}", {name})
"""


def test_an_edited_own_method_is_another_run_and_a_copy_of_it_is_not(tmp_path, monkeypatch):
    def identity(folder, text, factor):
        folder.mkdir()
        (folder / "method.py").write_text(text)
        (folder / "beside.py").write_text(f"FACTOR = {factor}\n")
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(__import__("sys").modules, "beside", raising=False)
        bring(str(folder / "method.py"))
        return jkd.plan("edited", teachers=["resnet8"]).identity

    text = METHOD.format(name="edited")
    first = identity(tmp_path / "a", text, 1)
    copy = identity(tmp_path / "b", text, 1)
    edited = identity(tmp_path / "c", text + "\n# another thought\n", 1)
    beside = identity(tmp_path / "d", text, 2)
    assert first == copy
    assert first["code"]["method"]
    assert len({str(one["code"]) for one in (first, edited, beside)}) == 3


def test_an_own_module_is_known_by_its_settings_and_source():
    plain, wide = (jkd.plan("scratch", student=Tiny(10, width=width)).identity for width in (8, 16))
    assert plain["student"] == "Tiny" and plain != wide
    assert plain["code"]["student"], "its source is part of the run"
    assert "code" not in jkd.plan("scratch", student="resnet8").identity


def test_what_typed_settings_may_be():
    with pytest.raises(jkd.UserError, match=r"unknown setting 'epoch' .*did you mean 'epochs'"):
        jkd.plan("aver", epoch=3)
    with pytest.raises(jkd.UserError, match="--epochs='3': it must be a whole number"):
        jkd.plan("aver", epochs="3")
    with pytest.raises(jkd.UserError, match="bomd: --beta=True: it must be a number"):
        jkd.plan("bomd", beta=True)
    with pytest.raises(jkd.UserError, match="--teachers='resnet8': it must be a list"):
        jkd.plan("aver", teachers="resnet8")
    with pytest.raises(jkd.UserError, match="--seed=4294967296: it must be at most 4294967295"):
        jkd.plan("aver", seed=2**32)
    assert not os.listdir(), "nothing was begun"
