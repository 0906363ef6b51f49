"""jkd's own trainer on random images, for benchmarks: all but reading images, evaluation and saving."""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jkd import models
from jkd.methods import Method
from jkd.teachers.recorded import silent
from jkd.training.asking import TeacherNetwork, teacher_outputs
from jkd.training.beginning import asked_of
from jkd.training.calls import Draw, compile_call
from jkd.training.devices import Devices
from jkd.training.images import Augmentation, Images
from jkd.training.state import initial, optimizer
from jkd.training.step import with_totals
from jkd.training.task import Task

_NEVER = 2**30  # epochs end after so many steps, and an upper level put off by so many steps never comes


def training(
    method: Method,
    student: str,
    teachers: list[str],
    *,
    steps: int,
    upper: bool = True,
    classes: int = 100,
    batch_size: int = 64,
    image_size: int = 32,
    dtype: str = "float32",
    views: bool = False,
) -> Callable[[], None]:
    """Returns what runs `steps` training steps and waits for them; without updates of the upper level if not
    `upper`, and with `views` as when what teachers say of a view is kept on the device."""
    devices = Devices.all()
    if method.upper_level is not None and not upper:
        method = method._replace(
            upper_level=method.upper_level._replace(every=_NEVER + 1, at_epoch_end=False)
        )
    shape = (batch_size, image_size, image_size, 3)
    taught = teachers if method.needs_teachers else []
    network = models.create(student, classes, dtype)
    networks = tuple(models.create(name, classes, dtype) for name in taught)
    variables = tuple(
        jax.jit(model.init)(jax.random.key(i, impl="rbg"), jnp.zeros(shape))
        for i, model in enumerate(networks)
    )
    lower = optimizer(method, optax.constant_schedule(0.05), momentum=0.9, nesterov=True, weight_decay=5e-4)
    augmentation = Augmentation(crop_padding=4, flip=True, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    seeing = tuple(map(TeacherNetwork.of, networks))
    task = Task(method, network, seeing, lower, augmentation, _NEVER, _NEVER, devices)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    signatures = jax.eval_shape(partial(teacher_outputs, seeing), variables, images)
    key = jax.random.key(0, impl="rbg")
    count = 10 * batch_size
    state = initial(key, jax.random.key(0), method, network, signatures, lower, images, count)
    state = devices.replicate(with_totals(task, state, variables, shape))
    pixels = jax.random.bits(jax.random.key(1), (count, *shape[1:]), jnp.uint8)
    labels = jax.random.randint(jax.random.key(2), (count,), 0, classes)
    data = Images(pixels, labels, jnp.arange(count))
    if views:
        form = asked_of(task, shape, state, signatures)
        said = jax.tree.map(lambda x: np.ones((count, *x.shape[1:]), np.float16), form)
        data = data._replace(views=np.zeros(count, np.int32), said=said)
        variables = tuple(map(models.head, variables))
        task = dataclasses.replace(task, teachers=tuple(map(silent, signatures)))
    data, variables = devices.replicate((data, variables))
    per_call = 1 if devices.on_cpu else steps
    call = compile_call(task, per_call)
    level = method.upper_level
    held_out = batch_size if level is not None and level.memory is None else 0
    positions = np.random.default_rng(3).integers(0, count, (call.steps, batch_size), np.int32)
    draw = Draw(positions, positions[:, :held_out])
    done = 0

    def run() -> None:
        nonlocal state, done
        end = done + steps
        while done < end:
            taken = call.take(done, end)
            state, _ = call.run(state, variables, data, draw, done, taken)
            done += taken
        jax.block_until_ready(state)

    return run
