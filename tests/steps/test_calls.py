"""Many steps in one compiled call are what they are one by one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_steps import positions, prepared

from jkd import methods
from jkd.steps.calls import Draw, compile_call
from jkd.steps.images import Batches


def trained(method, steps_per_call, epoch_steps, epochs):
    """The state and every step's metrics after some epochs, and the lengths of the calls."""
    task, state, teachers, data = prepared(method, epoch_steps, epochs * epoch_steps)
    state = jax.tree.map(jnp.copy, state)
    call = compile_call(task, steps_per_call)
    found, lengths, step = [], [], 0
    for end in range(epoch_steps, task.total_steps + 1, epoch_steps):
        while step < end:
            count = call.take(step, end)
            draw = positions(method, step, count, call.steps)
            state, metrics = call.run(state, teachers, data, draw, step, count)
            found.append(jax.device_get(metrics))
            lengths.append(count)
            step += count
    return state, jax.tree.map(lambda *parts: np.concatenate(parts), *found), lengths


# Epochs that no cycle divides: every third step, seven an epoch, MMKD's on the last as well. In the cycles of
# `long` the teachers are not asked together.
@pytest.mark.parametrize(
    ("name", "given", "steps", "epoch_steps", "calls"),
    [
        pytest.param("bomd", {"every": 3}, 6, 7, [5, 2, 4, 3], id="bomd"),
        pytest.param("aver", {}, 4, 7, [4, 3, 4, 3], id="aver", marks=pytest.mark.slow),
        pytest.param(
            "mmkd", {"every": 3, "buffer_size": 12}, 6, 7, [5, 2, 4, 3], id="mmkd", marks=pytest.mark.slow
        ),
        pytest.param(
            "bomd",
            {"every": 12, "upper_step": "unrolled"},
            12,
            14,
            [11, 3, 9, 5],
            id="long",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_call_of_many_steps_is_those_steps(name, given, steps, epoch_steps, calls, compiled_quickly):
    method = methods.create(name, **given)
    state, metrics, lengths = trained(method, steps, epoch_steps, 2)
    assert lengths == calls
    expected_state, expected, _ = trained(method, 1, epoch_steps, 2)
    chex.assert_trees_all_close(metrics, expected, rtol=2e-4, atol=1e-5)
    chex.assert_trees_all_close(state, expected_state, rtol=2e-4, atol=2e-4)
    chex.assert_trees_all_equal(state.upper_totals.get("updates"), expected_state.upper_totals.get("updates"))


def test_weights_are_learned_from_held_out_images_alone(compiled_quickly):
    method = methods.create("bomd", every=1, alignment=False)
    task, state, teachers, data = prepared(method, 4, 4)
    call = compile_call(task, 1)
    draw = positions(method, 0, 1, 1)

    def weights(draw):
        return call.run(jax.tree.map(jnp.copy, state), teachers, data, draw, 0, 1)[0].upper

    learned = weights(draw)
    chex.assert_trees_all_equal(weights(draw._replace(train=draw.train[:, ::-1])), learned)
    chex.assert_trees_all_equal(weights(draw._replace(train=draw.held_out)), learned)
    assert abs(weights(draw._replace(held_out=draw.train))["kd"] - learned["kd"]).max() > 1e-3


@pytest.mark.parametrize("steps", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_batches_alone_teach_what_the_whole_data_set_does(steps, compiled_quickly):
    """With images held out, and in a call that takes fewer steps than it has rows."""
    method = methods.create("bomd", every=2)
    task, state, teachers, data = prepared(method, 4, 8)
    call = compile_call(task, steps)
    count = call.take(0, 4)
    draw = positions(method, 0, count, call.steps)
    batches = Batches(*(jax.tree.map(lambda x, at=at: jnp.asarray(x)[at.T], data) for at in draw))
    number = np.arange(call.steps)[:, None]
    numbers = Draw(*(np.broadcast_to(number, at.shape) for at in draw))
    found = [
        call.run(jax.tree.map(jnp.copy, state), teachers, given, drawn, 0, count)
        for given, drawn in ((data, draw), (batches, numbers))
    ]
    chex.assert_trees_all_equal(*found)
