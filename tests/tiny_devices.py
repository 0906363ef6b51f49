"""What devices send each other in a call of a tiny training.

    python tiny_devices.py METHOD [batches [NAME=VALUE ...]]

Compiled for the devices that are there, not run. Prints as JSON the shapes that each collective of the
programs gives, and those of what is learned.
"""

import json
import re
import sys

import jax
import jax.numpy as jnp
from tiny_steps import BATCH, SHAPE, positions, prepared

from jkd import methods
from jkd.steps.calls import compile_call
from jkd.steps.devices import Devices
from jkd.steps.images import Batches, Images
from jkd.steps.state import shardings

GIVEN = {"mmkd": {"buffer_size": 2 * BATCH}}
COLLECTIVES = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute|collective-broadcast"
EPOCH, STEPS = 6, 5


def on(tree, placed):
    """Shapes of arrays that are placed so."""
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree, placed
    )


def batches(devices, steps, held_out):
    """Shapes of the batches of a call, as `jkd.training.source` gives them."""

    def of(*shape, dtype=jnp.int32):
        return jax.ShapeDtypeStruct((BATCH, steps, *shape), dtype)

    images = Images(of(*SHAPE[1:], dtype=jnp.uint8), of(), of())
    found = Batches(images, images if held_out else None)
    return on(found, jax.tree.map(lambda _: devices.split(jnp.zeros(BATCH), BATCH).sharding, found))


def main(name, given="", *settings):
    """Prints."""
    own = GIVEN.get(name, {}) | dict(setting.split("=") for setting in settings)
    method, devices = methods.create(name, **own), Devices.all()
    task, state, teachers, data = prepared(method, EPOCH, 2 * EPOCH, devices)
    learned = {tuple(x.shape) for x in jax.tree.leaves((state.params, state.upper))}
    call = compile_call(task, STEPS)
    count = call.take(0, EPOCH)
    draw = positions(method, 0, count, call.steps)
    state = on(state, shardings(devices, state))
    teachers, data = on((teachers, data), jax.tree.map(lambda _: devices.whole, (teachers, data)))
    if given:
        data = batches(devices, call.steps, draw.held_out.size)
    found = []
    for program in call.trace(state, teachers, data, draw, 0, count):
        text = program.lower().compile().as_text()
        for results, kind in re.findall(rf"= (\(.*?\)|\S+) ({COLLECTIVES})(?:-start)?\(", text):
            shapes = re.findall(r"[a-z]+\d*\[([\d,]*)\]", results)
            found += [[kind, [int(n) for n in shape.split(",") if n]] for shape in shapes]
    print(json.dumps({"devices": devices.count, "sent": found, "learned": sorted(learned)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
