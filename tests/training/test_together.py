"""Several runs by the same compiled calls are what each is alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_steps import positions, prepared

from jkd import methods
from jkd.machine.process import Interrupted
from jkd.steps.calls import compile_call
from jkd.training.together import Diverged, Stage, Turn, compile_together, drive

SEEDS = 3


@pytest.mark.parametrize(
    "name", ["aver", *(pytest.param(name, marks=pytest.mark.slow) for name in ("bomd", "mmkd", "gpac"))]
)
def test_runs_under_vmap_are_those_runs(name, compiled_quickly):
    settings = {"bomd": {"every": 3}, "mmkd": {"every": 3, "buffer_size": 12}}
    method = methods.create(name, **settings.get(name, {}))
    task, state, teachers, data = prepared(method, 6, 6)

    def of_seed(seed):
        noise = np.random.default_rng(seed)
        params = jax.tree.map(
            lambda x: x + noise.normal(0, 0.01, x.shape).astype(x.dtype), state.params.student
        )
        key = jax.random.key_data(jax.random.key(seed))
        return jax.tree.map(jnp.copy, state._replace(params=state.params._replace(student=params), key=key))

    one, several = compile_call(task, 6), compile_together(task, 6, SEEDS)
    count = one.take(0, 6)
    assert (several.steps, several.take(0, 6)) == (one.steps, count)
    draws = tuple(positions(method, 10 * seed, count, one.steps) for seed in range(SEEDS))
    states = tuple(of_seed(seed) for seed in range(SEEDS))
    found = several.run(states, teachers, data, draws, 0, count)
    assert len(found) == SEEDS
    for seed in range(SEEDS):
        alone = one.run(of_seed(seed), teachers, data, draws[seed], 0, count)
        chex.assert_trees_all_close(found[seed], alone, rtol=1e-4, atol=1e-5)
    losses = [metrics["loss"].tolist() for _, metrics in found]
    assert losses[0] != losses[1] != losses[2]


class FakeCall:
    """Notes which runs each call was of; a state is the name of its run."""

    def __init__(self):
        self.calls = []

    def run(self, states, teachers, data, draws, step, count):
        self.calls.append((step, "".join(states)))
        assert draws == tuple(state.upper() for state in states)
        return tuple((state, f"{state}{step}") for state in states)


def fake(name, call, log, first=0, last=3, fails=None):
    """A training of one step a call and three an epoch."""
    asked = yield Turn(first, Stage.BEGIN)
    for step in range(first, last):
        state, metrics = yield Turn(step, Stage.CALL, call, (name, "teachers", "data", name.upper(), step, 1))
        assert (state, metrics) == (name, f"{name}{step}")
        if fails and step == fails[0]:
            raise fails[1]
        if asked(step):
            raise Interrupted(15, f"{name} saved at {step}")
    yield Turn(last, Stage.TRAINED)
    log.append(name)
    return f"{name} is trained"


def test_those_behind_go_first_and_then_all_together():
    call, log = FakeCall(), []
    results = drive([fake("a", call, log), fake("b", call, log, first=2), fake("c", call, log, first=2)])
    # Where not all take part in a call, the first fills their places, and nobody takes what comes of that.
    assert call.calls == [(0, "aaa"), (1, "aaa"), (2, "abc")]
    assert results == ["a is trained", "b is trained", "c is trained"]
    assert log == ["a", "b", "c"]


def test_one_that_diverges_leaves_the_others_to_go_on():
    call, log = FakeCall(), []
    lost = Diverged("not finite")
    results = drive([fake("a", call, log), fake("b", call, log, fails=(1, lost))])
    assert results == ["a is trained", lost]
    assert call.calls == [(0, "ab"), (1, "ab"), (2, "aa")]


def test_all_save_before_any_stop_is_told():
    call, log, saved = FakeCall(), [], []

    def saving(name, **more):
        try:
            return (yield from fake(name, call, log, **more))
        except Interrupted as stopped:
            saved.append(str(stopped))
            raise

    stop = Interrupted(15, "a saved at 0")
    with pytest.raises(Interrupted, match="a saved at 0"):
        drive([saving("a", fails=(0, stop)), saving("b", fails=(1, Interrupted(15, "b saved at 1")))])
    assert saved == ["a saved at 0", "b saved at 1"]


def test_a_mistake_ends_all_of_them_in_order():
    call, log, closed = FakeCall(), [], []

    def closing(name, **more):
        try:
            return (yield from fake(name, call, log, **more))
        finally:
            closed.append(name)

    with pytest.raises(OSError, match="no room"):
        drive([closing("a"), closing("b", fails=(1, OSError("no room"))), closing("c")])
    assert sorted(closed) == ["a", "b", "c"]
