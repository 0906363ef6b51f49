"""Training steps on a tiny network and random images, as the trainer takes them, and no run around them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiny import Tiny

from jkd.steps.asking import TeacherNetwork, teacher_outputs
from jkd.steps.calls import Draw
from jkd.steps.devices import Devices
from jkd.steps.images import Augmentation, Images
from jkd.steps.state import initial, optimizer
from jkd.steps.step import with_totals
from jkd.steps.task import Task

BATCH, CLASSES, SHAPE = 8, 4, (8, 8, 8, 3)
EXAMPLES = 40


def prepared(method, epoch_steps, total_steps, devices=None):
    """A task, a state that nothing else holds, and what its steps see."""
    network = TeacherNetwork.of(Tiny(CLASSES, 6))
    lower = optimizer(method, optax.constant_schedule(0.05), momentum=0.9, nesterov=True, weight_decay=5e-4)
    plain = Augmentation(crop_padding=1, flip=True, mean=(0.5,) * 3, std=(0.25,) * 3)
    networks = (network,) * 2 if method.needs_teachers else ()
    task = Task(
        method, Tiny(CLASSES), networks, lower, plain, epoch_steps, total_steps, devices or Devices.all()
    )
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
