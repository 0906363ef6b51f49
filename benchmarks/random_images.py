"""jkd's own trainer on random images, for benchmarks: all but reading images, evaluation and saving."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from jkd import models
from jkd.methods import Method
from jkd.methods.base import TeacherOutputs
from jkd.steps.asking import TeacherNetwork, teacher_outputs
from jkd.steps.calls import Draw, compile_call
from jkd.steps.devices import Devices
from jkd.steps.images import Augmentation, Images
from jkd.steps.state import State, initial, optimizer, shardings
from jkd.steps.step import with_totals
from jkd.steps.task import Task
from jkd.teachers.recorded import silent
from jkd.training.beginning import asked_of
from jkd.training.together import compile_together

_NEVER = 2**30  # epochs end after so many steps, and an upper level put off by so many steps never comes


class Begun(NamedTuple):
    """What a training begins with."""

    state: State
    teachers: tuple[PyTree, ...]
    data: Images
    signatures: tuple[TeacherOutputs, ...]  # of what each teacher gives for a batch


def described(
    method: Method,
    student: str,
    teachers: list[str],
    *,
    classes: int,
    batch_size: int,
    image_size: int,
    dtype: str,
    count: int,
    devices: Devices,
    epoch_steps: int = _NEVER,
    total_steps: int = _NEVER,
) -> tuple[Task, Callable[[], Begun]]:
    """Returns what is trained, by the names of the networks, and what makes random teachers and `count`
    random images for it; for their shapes alone, `jax.eval_shape` may call it."""
    shape = (batch_size, image_size, image_size, 3)
    network = models.create(student, classes, dtype)
    networks = [models.create(name, classes, dtype) for name in teachers if method.needs_teachers]
    lower = optimizer(method, optax.constant_schedule(0.05), momentum=0.9, nesterov=True, weight_decay=5e-4)
    augmentation = Augmentation(crop_padding=4, flip=True, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    seeing = tuple(map(TeacherNetwork.of, networks))
    task = Task(method, network, seeing, lower, augmentation, epoch_steps, total_steps, devices)

    def begin() -> Begun:
        variables = tuple(
            jax.jit(model.init)(jax.random.key(i, impl="rbg"), jnp.zeros(shape))
            for i, model in enumerate(networks)
        )
        images = jax.ShapeDtypeStruct(shape, jnp.float32)
        signatures = jax.eval_shape(partial(teacher_outputs, seeing), variables, images)
        keys = jax.random.key(0, impl="rbg"), jax.random.key(0)
        state = initial(*keys, method, network, signatures, lower, images, count)
        state = with_totals(task, state, variables, shape)
        pixels = jax.random.bits(jax.random.key(1), (count, *shape[1:]), jnp.uint8)
        labels = jax.random.randint(jax.random.key(2), (count,), 0, classes)
        return Begun(state, variables, Images(pixels, labels, jnp.arange(count)), signatures)

    return task, begin


def drawn(method: Method, count: int, batch_size: int, rows: int) -> Draw:
    """Returns which of `count` images so many steps see."""
    level = method.upper_level
    held_out = batch_size if level is not None and level.memory is None else 0
    positions = np.random.default_rng(3).integers(0, count, (rows, batch_size), np.int32)
    return Draw(positions, positions[:, :held_out])


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
    runs: int = 1,
) -> Callable[[], None]:
    """Returns what runs `steps` training steps and waits for them; without updates of the upper level if not
    `upper`, with `views` as when what teachers say of views is on the device, of `runs` runs together."""
    devices = Devices.all()
    if method.upper_level is not None and not upper:
        method = method._replace(
            upper_level=method.upper_level._replace(every=_NEVER + 1, at_epoch_end=False)
        )
    count = 10 * batch_size
    sizes = {"classes": classes, "batch_size": batch_size, "image_size": image_size, "count": count}
    task, begin = described(method, student, teachers, **sizes, dtype=dtype, devices=devices)
    state, variables, data, signatures = begin()
    state = devices.place(state, shardings(devices, state, apart=runs == 1))
    if views:
        form = asked_of(task, (batch_size, image_size, image_size, 3), state, signatures)
        said = jax.tree.map(lambda x: np.ones((count, *x.shape[1:]), np.float16), form)
        data = data._replace(views=np.zeros(count, np.int32), said=said)
        variables = tuple(map(models.head, variables))
        task = dataclasses.replace(task, teachers=tuple(map(silent, signatures)))
    data, variables = devices.replicate((data, variables))
    per_call = 1 if devices.on_cpu else steps
    call = compile_call(task, per_call) if runs == 1 else compile_together(task, per_call, runs)
    draw = drawn(method, count, batch_size, call.steps)
    done = 0
    if runs > 1:
        state = (state,) * runs

    def run() -> None:
        nonlocal state, done
        end = done + steps
        while done < end:
            taken = call.take(done, end)
            if runs == 1:
                state, _ = call.run(state, variables, data, draw, done, taken)
            else:
                found = call.run(state, variables, data, (draw,) * runs, done, taken)
                state = tuple(after for after, _ in found)
            done += taken
        jax.block_until_ready(state)

    return run
