"""Many steps in one compiled call are what they are one by one."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import Tiny

from jkd import methods
from jkd.training.asking import TeacherNetwork, teacher_outputs
from jkd.training.calls import Draw, compile_call
from jkd.training.devices import Devices
from jkd.training.state import initial, optimizer
from jkd.training.step import Augmentation, Images, Task, with_totals

BATCH, CLASSES, SHAPE = 8, 4, (8, 8, 8, 3)
EXAMPLES = 40


def prepared(method, epoch_steps, total_steps):
    """A task, a state that nothing else holds, and what its steps see."""
    network = TeacherNetwork.of(Tiny(CLASSES, 6))
    lower = optimizer(method, optax.constant_schedule(0.05), momentum=0.9, nesterov=True, weight_decay=5e-4)
    plain = Augmentation(crop_padding=1, flip=True, mean=(0.5,) * 3, std=(0.25,) * 3)
    networks = (network,) * 2 if method.needs_teachers else ()
    task = Task(method, Tiny(CLASSES), networks, lower, plain, epoch_steps, total_steps, Devices.all())
    init = jax.jit(partial(Tiny(CLASSES, 6).init, train=False))
    teachers = tuple(init(jax.random.key(i, impl="rbg"), jnp.zeros(SHAPE)) for i in range(len(networks)))
    images = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    seen = jax.eval_shape(partial(teacher_outputs, networks), teachers, images)
    keys = jax.random.key(0, impl="rbg"), jax.random.key(0)
    state = initial(*keys, method, task.student, seen, lower, images, EXAMPLES)
    state = with_totals(task, state, teachers, SHAPE)
    rng = np.random.default_rng(0)
    every = np.arange(EXAMPLES)
    data = Images(rng.integers(0, 256, (EXAMPLES, *SHAPE[1:]), np.uint8), every % CLASSES, every)
    return task, state, teachers, data


def positions(method, first, count, rows):
    """What the steps from `first` on see, whichever calls they are taken by, filled up to `rows`."""
    drawn = [np.random.default_rng(s).permutation(EXAMPLES)[: 2 * BATCH] for s in range(first, first + count)]
    drawn = np.pad(np.stack(drawn), ((0, rows - count), (0, 0)))
    level = method.upper_level
    return Draw(drawn[:, :BATCH], drawn[:, BATCH if level and level.memory is None else 2 * BATCH :])


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
