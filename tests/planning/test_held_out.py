"""Held-out images: no network is trained on them, in any run of an experiment, or the run says so."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import settings as tiny_settings

import jkd
from jkd.methods import METHODS, create

MADE = {name: create(name) for name in METHODS}
USERS = [name for name, method in MADE.items() if method.uses_held_out]


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def plan(method, **given):
    return jkd.plan(method, **({"teachers": ["resnet8", "resnet8"]} | given))


@settings(deadline=None, max_examples=5)
@given(
    method=st.sampled_from(["scratch", "aver", "mmkd", "bomd", "gpac"]),
    seed=st.integers(0, 5),
    fraction=st.floats(0.01, 0.5),
)
def test_no_network_of_an_experiment_is_trained_on_them(method, seed, fraction):
    first, other = (plan(m, seed=s, held_out=fraction) for m, s in ((method, seed), ("bomd", 0)))
    np.testing.assert_array_equal(first.job.held_out, other.job.held_out)
    assert len(first.job.held_out) >= 10
    for run in (first, *first.teachers):
        every = np.concatenate([run.job.train_indices, first.job.held_out])
        np.testing.assert_array_equal(np.sort(every), np.arange(len(run.job.dataset.train_labels)))
    assert not first.notes


def test_teachers_are_others_where_more_is_held_out():
    folders = {plan("aver", held_out=fraction).teachers[0].folder for fraction in (0, 0.05, 0.1)}
    assert len(folders) == 3
    same = {plan(method, seed=seed).teachers[0].folder for method, seed in (("aver", 0), ("bomd", 1))}
    assert len(same) == 1, "methods and seeds share their teachers"


def test_upper_levels_and_probes_are_who_uses_them():
    assert {"amal", "bomd", "gpac"} <= set(USERS)
    assert not {"scratch", "aver", "mmkd", "distill"} & set(USERS)
    assert create("distill", weighting="best").uses_held_out


def test_as_in_published_tables_all_but_their_users_are_trained_on_all():
    whole = len(jkd.plan("scratch", held_out=0).job.train_indices)
    for method in ("scratch", "aver", "mmkd", "bomd", "gpac"):
        run = plan(method, held_out_from="users")
        sees_all = len(run.job.train_indices) == whole
        assert sees_all == (method != "bomd")  # probes judge teachers: their student may see what they see
        for teacher in run.teachers:
            assert len(teacher.job.train_indices) == whole
        told = "the held-out images are among those that resnet8-seed0, resnet8-seed1 learned from"
        assert run.notes == ((told,) if method in USERS else ())
        assert told in str(run) or method not in USERS
    one, other = (plan("gpac", held_out_from=who).identity["dataset"] for who in ("users", "everyone"))
    assert one != other


@pytest.mark.parametrize("method", METHODS)
def test_only_who_needs_them_is_refused_without(method):
    if method in USERS:
        with pytest.raises(jkd.UserError, match=f"--held-out=0: {method} learns from images .* such as 0.05"):
            plan(method, held_out=0)
    else:
        run = plan(method, held_out=0)
        assert len(run.job.train_indices) == len(run.job.dataset.train_labels)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a teacher, trained with the defaults."""
    folder = tmp_path_factory.mktemp("held out")
    return jkd.distil("scratch", **tiny_settings(folder, teachers=[], epochs=1)).folder


def edited(teacher, folder, **dataset):
    """A copy of the teacher's folder with another record of its data."""
    shutil.copytree(teacher, folder)
    config = json.loads((folder / "config.json").read_text())
    config["dataset"] |= dataset
    config["dataset"] = {name: value for name, value in config["dataset"].items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))
    return f"tiny@{folder}"


def test_what_a_teacher_that_is_read_was_trained_on_is_known(teacher, tmp_path):
    def notes(who, method="bomd", **given):
        return plan(method, teachers=[who], student="resnet8", **given).notes

    found = f"tiny@{teacher}"
    saw = "the held-out images are among those that {} learned from"
    unknown = "it is not known whether {} learned from the {} images"
    assert notes(found) == notes(found, held_out=0.02) == ()
    assert notes(found, held_out=0.1) == (saw.format(found),)
    assert notes(found, validation=0.1)[1:] == tuple(
        unknown.format(found, what) for what in ("held-out", "validation")
    )
    assert notes(found, "aver") == notes(found, "aver", held_out=0.1) == (), "it looks at none of them"
    everything = edited(teacher, tmp_path / "everything", held_out=0.0)
    assert notes(everything) == (saw.format(everything),)
    learner = edited(teacher, tmp_path / "learner", trained_on_held_out=True)
    assert notes(learner) == (saw.format(learner),)
    other = edited(teacher, tmp_path / "other", fingerprint="0123")
    assert notes(other) == (unknown.format(other, "held-out"),)
    # Before there was one split for all, a run had its own.
    old = edited(teacher, tmp_path / "old", trained_on_held_out=None)
    assert notes(old) == (unknown.format(old, "held-out"),)
    old = edited(teacher, tmp_path / "older", trained_on_held_out=None, held_out=0.0)
    assert notes(old) == (saw.format(old),)


def test_of_own_teachers_it_is_not_known():
    own = jkd.Teacher(lambda v, x: x.reshape(len(x), -1) @ v, np.ones((8 * 8 * 3, 10), np.float32), "mine")
    run = jkd.plan("aver", teachers=[own], image_size=8, validation=0.1)
    assert run.notes[-1] == "it is not known whether mine learned from the validation images"
