"""Settings that decide how training runs leave what is learned as it is."""

import dataclasses

import chex
import pytest

from jkd import run
from jkd.distillation.distil import distil
from jkd.planning import settings as config
from jkd.planning.experiment import Experiment
from jkd.planning.plan import plan
from jkd.training import loop, source

EPOCHS = 2


@pytest.fixture(scope="module")
def experiment(tiny_npz, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return Experiment(
        "bomd",
        {"every": 2},
        config.Data(dataset=f"npz:{tiny_npz}"),
        config.Teachers(("tiny",), teacher_dir=str(folder / "teachers"), teacher_epochs=1),
        config.Student("tiny"),
        config.Recipe(epochs=EPOCHS, batch_size=200),
        config.Execution(workdir=str(folder / "plain"), cache_dir=str(folder / "cache")),
    )


def learned(experiment, folder, **execution):
    """The test metrics of a run with other settings of execution."""
    execution = dataclasses.replace(experiment.execution, workdir=str(folder), **execution)
    return dict(distil(plan(dataclasses.replace(experiment, execution=execution))).summary["last"])


@pytest.fixture(scope="module")
def plain(experiment):
    return learned(experiment, experiment.execution.workdir)


def test_many_steps_in_one_call_learn_the_same(experiment, plain, tmp_path):
    # Three steps an epoch: the second call is shorter than the first, and holds an update of the upper level.
    chex.assert_trees_all_close(learned(experiment, tmp_path / "many", steps_per_call=2), plain, rtol=1e-3)


def test_the_memory_of_a_step_is_recorded(experiment, plain):
    records = run.read(experiment.execution.workdir).records
    assert len({record["memory/step_bytes"] for record in records}) == 1
    activations = 200 * 8 * 8 * 8 * 4 / 4  # of one map of the student, for a batch
    assert activations < records[0]["memory/step_bytes"] < 2**30


def test_the_speed_of_the_first_epoch_is_without_compilation(monkeypatch):
    compiled, now = [0.0], [100.0]
    monkeypatch.setattr(loop.time, "perf_counter", lambda: now[0])
    speed = loop._Speed(10, lambda: compiled[0])
    speed.epoch()
    now[0], compiled[0] = 131.0, 30.0  # 31 seconds, of which 30 went into compiling
    speed.advance(2)
    assert speed.images_per_second == 20


def test_compiling_is_counted_once(experiment, tmp_path, monkeypatch):
    compiled = []

    class Speed(loop._Speed):
        def __init__(self, batch_size, compilation):
            super().__init__(batch_size, compilation)
            compiled.append(compilation)

    monkeypatch.setattr(loop, "_Speed", Speed)
    learned(experiment, tmp_path / "timed", cache_dir=str(tmp_path / "cache"))
    speeds = [record["time/images_per_second"] for record in run.read(tmp_path / "timed").records]
    first, second = (600 / speed for speed in speeds)  # seconds of an epoch
    # Both are as slow as the machine is busy: compiling takes seconds, the epoch milliseconds.
    assert second / 1000 < first < compiled[0]() / 2


def test_images_kept_on_the_host_give_the_same(experiment, plain, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "_RESIDENT_SHARE", -1)
    assert learned(experiment, tmp_path / "host") == plain


@pytest.mark.slow
def test_bfloat16_learns_close_to_float32(experiment, tmp_path):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        recipe = dataclasses.replace(experiment.recipe, dtype=dtype)
        alone = dataclasses.replace(experiment, method="scratch", hyperparameters={}, recipe=recipe)
        losses[dtype] = learned(alone, tmp_path / dtype)["test/loss"]
    assert losses["bfloat16"] != losses["float32"]
    assert abs(losses["bfloat16"] - losses["float32"]) < 0.5
