"""A run's folder: what is in it, what it refuses, and that it survives a kill at any moment."""

import json
import multiprocessing
import os
import random
import shlex
import signal
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jkd.errors import UserError
from jkd.run import Run, read, restore_item

CONFIG = {"method": "bomd", "beta": 1.0, "data": {"name": "digits", "batch_size": 64}, "teachers": ("vgg8",)}


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "runs" / "a"


def make_state(step):
    """A training state in small: its numbers tell the step."""
    params = {"conv": {"kernel": jnp.sin(jnp.arange(24.0) + step).reshape(3, 8)}, "none": {}}
    optimizer = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, momentum=0.9), optax.adam(1e-3))
    return {
        "student": {"params": params, "batch_stats": {"mean": jnp.full(8, step, jnp.bfloat16)}},
        "method": (),
        "rest": (optimizer.init(params), jnp.int32(step), jax.random.key(step)),
    }


def abstract(state):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)


def assert_same(actual, expected):
    bits = lambda tree: jax.tree.map(  # noqa: E731
        lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree
    )
    chex.assert_trees_all_equal(bits(actual), bits(expected), strict=True)


def test_a_folder_holds_configuration_session_records_and_summary(workdir):
    with Run.open(workdir, CONFIG) as run:
        run.log(10, {"epoch": 1, "test/top1": np.float32(0.1), "note": "x"})
        run.log(20, {"epoch": 2, "train/weight_logits": jnp.array([0.25, 0.75])})
        assert run.summary is None
        run.finish({"top1": jnp.float32(0.5), "teachers": [{"name": "vgg8", "top1": np.float64(0.75)}]})

    config, records, summary, *_ = read(workdir)
    assert config == {**CONFIG, "teachers": ["vgg8"]}
    assert records == [
        {"step": 10, "epoch": 1, "test/top1": float(np.float32(0.1)), "note": "x"},
        {"step": 20, "epoch": 2, "train/weight_logits": [0.25, 0.75]},
    ]
    assert summary == {"top1": 0.5, "teachers": [{"name": "vgg8", "top1": 0.75}]}
    (session,) = map(json.loads, (workdir / "sessions.jsonl").read_text().splitlines())
    assert session["versions"]["jax"] == jax.__version__
    assert session["devices"] == {
        "platform": jax.default_backend(),
        "kind": jax.devices()[0].device_kind,
        "count": jax.device_count(),
    }
    assert session["command"] == shlex.join(sys.orig_argv)


def test_the_same_configuration_reopens_the_folder_and_another_is_refused(workdir):
    Run.open(workdir, CONFIG).close()
    Run.open(workdir, CONFIG).close()
    assert len((workdir / "sessions.jsonl").read_text().splitlines()) == 2
    other = {**CONFIG, "beta": 2.0, "data": {"name": "digits"}, "seed": 1}
    with pytest.raises(UserError) as refused:
        Run.open(workdir, other)
    message = str(refused.value)
    for part in (
        str(workdir),
        "beta: 1.0 there, 2.0 here",
        "data.batch_size: 64 there, absent here",
        "seed: absent there, 1 here",
        "--workdir",
    ):
        assert part in message
    assert "method" not in message and "\n" not in message


def test_what_is_not_a_runs_folder_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"thesis\.tex.*--workdir"):
        Run.open(tmp_path, CONFIG)
    assert os.listdir(tmp_path) == ["thesis.tex"]
    with pytest.raises(UserError, match=r"thesis\.tex.*--workdir"):
        Run.open(tmp_path / "thesis.tex", CONFIG)
    with pytest.raises(UserError, match="not a run's folder"):
        read(tmp_path)
    with pytest.raises(UserError, match="no checkpoint"):
        restore_item(tmp_path, "student", {})


@pytest.mark.parametrize("content", ["", '{"beta": 1.0', "[]"])
def test_a_damaged_configuration_is_named(workdir, content):
    Run.open(workdir, CONFIG).close()
    (workdir / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        Run.open(workdir, CONFIG)
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        read(workdir)


def test_a_folder_in_use_is_refused_until_it_is_closed(workdir):
    with Run.open(workdir, CONFIG), pytest.raises(UserError, match="in use by another process"):
        Run.open(workdir, CONFIG)
    Run.open(workdir, CONFIG).close()


def test_a_checkpoint_comes_back_bit_identical(workdir):
    with Run.open(workdir, CONFIG) as run:
        assert run.restore(abstract(make_state(0))) is None
        for step in (1, 2, 3):
            run.save(step, make_state(step))
        run.save(3, make_state(3))
    with Run.open(workdir, CONFIG) as run:
        step, state = run.restore(abstract(make_state(0)))
        assert step == 3
        assert_same(state, make_state(3))
        assert len(os.listdir(workdir / "checkpoints")) == 2
    student = abstract(make_state(0))["student"]
    assert_same(restore_item(workdir, "student", student), make_state(3)["student"])


def test_arrays_may_be_donated_while_they_are_being_saved(workdir):
    advance = jax.jit(lambda x: x + 1, donate_argnums=0)
    array = jnp.zeros(1_000_000)
    with Run.open(workdir, CONFIG) as run:
        run.save(0, {"student": {"kernel": array}})
        for _ in range(10):
            array = advance(array)
    restored = restore_item(workdir, "student", {"kernel": array})
    chex.assert_trees_all_equal(restored["kernel"], jnp.zeros(1_000_000))


def test_a_checkpoint_of_another_network_is_refused_by_name(workdir):
    student = make_state(0)["student"]
    with Run.open(workdir, CONFIG) as run:
        run.save(0, {"student": student})
    with pytest.raises(UserError, match="no item 'teacher'"):
        restore_item(workdir, "teacher", student)
    wider = {**student, "params": {"conv": {"kernel": jnp.zeros((3, 9))}}}
    with pytest.raises(UserError, match=r"params/conv/kernel: float32\[3, 8\] there, float32\[3, 9\] here"):
        restore_item(workdir, "student", wider)


def test_a_truncated_checkpoint_is_named(workdir):
    student = {"kernel": jnp.ones((100, 100))}
    with Run.open(workdir, CONFIG) as run:
        run.save(0, {"student": student})
    for path in (workdir / "checkpoints" / "0" / "student" / "d").iterdir():
        os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(UserError, match=r"checkpoints/0/student is damaged") as refused:
        restore_item(workdir, "student", student)
    assert "\n" not in str(refused.value)
    assert "restore it" in str(refused.value)


def scalars(workdir, tag):
    events = EventAccumulator(str(workdir / "tensorboard"))
    events.Reload()
    return [(event.step, round(event.value, 3)) for event in events.Scalars(tag)]


def test_resuming_drops_the_records_after_the_checkpoint(workdir):
    with Run.open(workdir, CONFIG) as run:
        for step in range(1, 5):
            run.log(step, {"loss": 1 / step, "w": [0.0, step / 10]})
            if step == 2:
                run.save(step, make_state(step))
    with open(workdir / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')  # torn by a kill
    with Run.open(workdir, CONFIG) as run:
        assert [record["step"] for record in run.records] == [1, 2, 3, 4]
        run.restore(abstract(make_state(0)))
        assert [record["step"] for record in run.records] == [1, 2]
        run.log(3, {"loss": 0.9, "w": [0.0, 0.9]})
    assert [record["loss"] for record in read(workdir).records] == [1, 0.5, 0.9]
    assert scalars(workdir, "loss") == [(1, 1.0), (2, 0.5), (3, 0.9)]
    assert scalars(workdir, "w/1") == [(1, 0.1), (2, 0.2), (3, 0.9)]


def on_cpus(devices, function, *arguments):
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    function(*arguments)


def start_process(devices, function, *arguments):
    # A server that has imported everything forks the processes, which saves seconds for each.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jkd.run", "optax", "chex"])
    process = context.Process(target=on_cpus, args=(devices, function, *arguments))
    process.start()
    return process


def spread_over_devices(workdir):
    """Restores a checkpoint sharded over all devices and saves it from there."""
    mesh = jax.make_mesh((jax.device_count(),), ("batch",))

    def placed(x):
        divides = x.ndim > 0 and x.shape[-1] % jax.device_count() == 0
        spec = jax.P(*[None] * (x.ndim - 1), "batch") if divides else jax.P()
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jax.sharding.NamedSharding(mesh, spec))

    wanted = jax.tree.map(placed, make_state(0))
    with Run.open(workdir, CONFIG) as run:
        step, state = run.restore(wanted)
        for leaf, want in zip(jax.tree.leaves(state), jax.tree.leaves(wanted), strict=True):
            assert leaf.sharding.is_equivalent_to(want.sharding, leaf.ndim)
        run.save(step + 1, state)


def test_a_checkpoint_moves_between_one_device_and_eight(workdir):
    with Run.open(workdir, CONFIG) as run:
        run.save(1, make_state(7))
    process = start_process(8, spread_over_devices, workdir)
    process.join()
    assert process.exitcode == 0
    with Run.open(workdir, CONFIG) as run:
        step, state = run.restore(abstract(make_state(0)))
    assert step == 2
    assert_same(state, make_state(7))
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(state))


def train(workdir):
    """Saves a state at every step, until it is killed."""
    with Run.open(workdir, CONFIG) as run:
        sharding = jax.sharding.NamedSharding(jax.make_mesh((jax.device_count(),), ("batch",)), jax.P())
        restored = run.restore(abstract(make_state(0)))
        step = restored[0] if restored else 0
        while True:
            step += 1
            run.log(step, {"loss": 1 / step})
            run.save(step, jax.device_put(make_state(step), sharding))


def test_killed_at_any_moment_it_reopens_at_the_newest_complete_checkpoint(workdir):
    moment = random.Random(0)
    newest = 0
    for devices in (1, 8, 1, 8, 1):
        process = start_process(devices, train, workdir)
        started, before = time.monotonic(), newest
        while newest < before + 2 and time.monotonic() < started + 60:
            time.sleep(moment.uniform(0, 0.1))
            saved = Path(workdir / "checkpoints").glob("*")
            newest = max((int(path.name) for path in saved if path.name.isdigit()), default=0)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with Run.open(workdir, CONFIG) as run:
            step, state = run.restore(abstract(make_state(0)))
            assert step >= newest > before
            newest = step
            assert_same(state, make_state(step))
            assert [record["step"] for record in run.records] == list(range(1, step + 1))
