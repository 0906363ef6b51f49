"""What a method finds out about its teachers: from which images, once, and kept in the run's folder."""

from types import SimpleNamespace

import chex
import numpy as np
import pytest

from jkd import methods
from jkd.distillation.preparation import prepare
from jkd.errors import UserError
from jkd.methods.base import Preparation
from jkd.models import Outputs
from jkd.steps.asking import TeacherNetwork
from jkd.steps.devices import Devices
from jkd.steps.images import Augmentation
from jkd.steps.state import Split


class Network:
    """A teacher whose only feature is its image times a number."""

    def apply(self, variables, images, train):
        assert not train
        x = images * variables["params"]["factor"]
        return Outputs(x[:, 0, 0], (x,), x.mean((1, 2)))


HEAD = {"kernel": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32)}
TEACHERS = tuple({"params": {"fc": HEAD, "factor": np.float32(f)}} for f in (1.0, 2.0))


def job_of(prepare_method):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 4, 4, 3), dtype=np.uint8)
    task = SimpleNamespace(
        method=methods.create("aver")._replace(prepare=prepare_method),
        teachers=(TeacherNetwork.of(Network()), TeacherNetwork.of(Network())),
        augmentation=Augmentation(2, True, (0.0,) * 3, (1.0,) * 3),
        devices=Devices.all(),
    )
    return SimpleNamespace(
        task=task,
        dataset=SimpleNamespace(train_images=images, train_labels=np.arange(20)),
        train_indices=np.arange(20),
        held_out=np.array([3, 7]),
        eval_batch_size=8,
    )


def prepared(job, folder):
    return prepare(job, TEACHERS, STATE, ("x", "y"), folder)


class State(SimpleNamespace):
    def _replace(self, **changed):
        return State(**vars(self) | changed)


STATE = State(stats=Split({}, {"a": np.zeros(2), "b": (np.zeros(()),)}))


@pytest.fixture
def counted():
    """A way of preparing, and the list of what each call of it was given."""
    calls = []

    def method(state, names, train, held_out):
        calls.append((names, train, held_out))
        means = [float(x.mean()) for x in held_out.observe(lambda t: t.features[0].mean((1, 2)))]
        found = {"a": np.array(means), "b": (np.float64(7),)}
        return Preparation(found, {"means": means}, f"means of {len(means)}", {"kept": np.arange(3)})

    return method, calls


def test_it_is_done_once_and_read_from_the_folder_then(counted, tmp_path, capsys):
    method, calls = counted
    first, report = prepared(job_of(method), tmp_path)
    again, same = prepared(job_of(method), tmp_path)
    assert len(calls) == 1
    chex.assert_trees_all_equal(first.stats.method, again.stats.method)
    assert report == same
    assert capsys.readouterr().out.count("means of 2") == 2
    with np.load(tmp_path / "preparation.npz") as kept:
        chex.assert_trees_all_equal(kept["kept"], np.arange(3))


def test_it_sees_each_teacher_on_images_as_they_are(counted, tmp_path):
    method, calls = counted
    job = job_of(method)
    state, _ = prepared(job, tmp_path)
    ((names, train, held_out),) = calls
    assert names == ("x", "y")
    assert list(held_out.labels) == [3, 7]
    assert set(train.labels) == set(range(20)) - {3, 7}
    mean = job.dataset.train_images[[3, 7]].mean() / 255
    np.testing.assert_allclose(state.stats.method["a"], [mean, 2 * mean], rtol=1e-5)
    one, two = train.observe(lambda teacher: teacher.embedding)
    expected = job.dataset.train_images[train.labels].mean((1, 2)) / 255
    np.testing.assert_allclose(one, expected, rtol=1e-5)
    np.testing.assert_allclose(two, 2 * expected, rtol=1e-5)


def test_what_is_damaged_is_named(counted, tmp_path):
    method, _ = counted
    prepared(job_of(method), tmp_path)
    whole = (tmp_path / "preparation.npz").read_bytes()
    (tmp_path / "preparation.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"preparation\.npz is damaged"):
        prepared(job_of(method), tmp_path)


def test_a_method_with_nothing_to_find_out_keeps_its_state(tmp_path):
    state, report = prepared(job_of(None), tmp_path)
    assert state is STATE
    assert report == {}
    assert not list(tmp_path.iterdir())
