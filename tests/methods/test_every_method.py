"""What holds for every registered method: a few steps through the trainer on tiny networks and images."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from jkd import methods
from jkd.models import Outputs
from jkd.models.layers import BatchNorm
from jkd.steps.asking import TeacherNetwork, teacher_outputs
from jkd.steps.calls import Draw, compile_call
from jkd.steps.devices import Devices
from jkd.steps.images import Augmentation, Images
from jkd.steps.state import initial, optimizer
from jkd.steps.step import with_totals
from jkd.steps.task import Task

BATCH, CLASSES, SIZE, STEPS = 16, 4, 8, 12
SHAPE = (BATCH, SIZE, SIZE, 3)


class Network(nn.Module):
    """A stem and a stage for each further width, each of half the size."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x, train):
        features = []
        for i, width in enumerate(self.widths):
            x = nn.Conv(width, (3, 3), strides=2 if i else 1, use_bias=False)(x)
            x = nn.relu(BatchNorm(use_running_average=not train)(x))
            features.append(x)
        embedding = x.mean((1, 2))
        return Outputs(nn.Dense(CLASSES)(embedding), tuple(features), embedding)


STUDENT = Network((4, 6, 8))
TEACHERS = (Network((4, 6, 10)), Network((4, 5, 6)))


def task_of(method, relative_rate):
    lower = optimizer(method, optax.constant_schedule(0.02), momentum=0.9, nesterov=True, weight_decay=5e-4)
    plain = Augmentation(crop_padding=0, flip=False, mean=(0.5,) * 3, std=(0.25,) * 3)
    networks = tuple(map(TeacherNetwork.of, TEACHERS)) if method.needs_teachers else ()
    return Task(method, STUDENT, networks, lower, plain, 10**6, 10**6, Devices.all(), relative_rate)


@pytest.fixture(scope="module")
def teachers(compiled_quickly):
    return tuple(
        jax.jit(partial(network.init, train=False))(jax.random.key(i, impl="rbg"), jnp.zeros(SHAPE))
        for i, network in enumerate(TEACHERS)
    )


def train(method, teachers, relative_rate=lambda step: 1.0):
    """Yields the state and the metrics after each of STEPS steps on one batch."""
    task = task_of(method, relative_rate)
    key = jax.random.key(0, impl="rbg")
    variables = teachers if method.needs_teachers else ()
    images = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
    seen = jax.eval_shape(partial(teacher_outputs, task.teachers), variables, images)
    state = initial(key, jax.random.key(0), method, STUDENT, seen, task.optimizer, images, 2 * BATCH)
    state = with_totals(task, state, variables, SHAPE)

    rng = np.random.default_rng(0)
    every = np.arange(2 * BATCH)
    data = Images(rng.integers(0, 256, (2 * BATCH, *SHAPE[1:]), np.uint8), every % CLASSES, every)
    level = method.upper_level
    held_out = np.arange(BATCH, 2 * BATCH if level and level.memory is None else BATCH)[None]
    draw = Draw(np.arange(BATCH)[None], held_out)
    call = compile_call(task, 1)
    for step in range(STEPS):
        state, metrics = call.run(state, variables, data, draw, step, 1)
        yield state, metrics


# Those whose programs take longest to compile, and share their parts with others.
SLOW = ("amal", "mkcd", "mmkd")
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in methods.METHODS]


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls_and_stays_finite(name, teachers):
    losses = []
    for _, metrics in train(methods.create(name), teachers):
        assert all(np.isfinite(value).all() for value in jax.tree.leaves(metrics)), metrics
        losses.append(float(metrics["loss"][0]))
    assert np.mean(losses[-2:]) < 0.95 * np.mean(losses[:2])
    for weights in ("weight_logits", "weight_features"):
        if weights in metrics:
            assert metrics[weights].shape == (1, len(TEACHERS))
            assert (metrics[weights] >= 0).all()


@pytest.mark.slow
def test_bomds_upper_rate_follows_the_square_of_the_students(teachers):
    method = methods.create("bomd", every=1)

    def moved(rate):
        states = train(method, teachers, lambda step: jnp.where(step < STEPS // 2, rate, 0.0))
        weights = [np.asarray(state.upper["kd"]) for state, _ in states]
        np.testing.assert_array_equal(weights[-1], weights[STEPS // 2 - 1])
        return weights[0]

    whole = moved(1.0)
    assert np.abs(whole).max() > 0
    np.testing.assert_allclose(moved(0.1), 0.01 * whole, rtol=1e-5)
