"""What sealing a checkpoint costs: the time of its checksums beside that of saving, and its bytes.

    taskset -c 0 python benchmarks/digests.py [--saves=20]

A checkpoint holds what a training's does: the student and its momentum. Saving is timed to its end; the
checksums are taken within, before orbax's threads begin. Each number is a median.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from jkd import models
from jkd.provenance import checksum
from jkd.run import checkpoints


def state_of(name):
    model = models.create(name, 100)
    variables = jax.jit(model.init)(jax.random.key(0, impl="rbg"), jnp.zeros((1, 32, 32, 3)))
    return {"student": variables, "training": {"momentum": jax.tree.map(jnp.sin, variables["params"])}}


def timed(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(name, saves):
    state = state_of(name)
    folder = Path(tempfile.mkdtemp())
    manager = checkpoints.open_to_write(folder)

    def save(step):
        checkpoints.save(manager, step, state, {"count": 0, "digest": ""})
        manager.wait_until_finished()

    def take():
        for item in state.values():
            checksum(item)

    saving, taking = [], []
    for step in range(saves):
        # New arrays each time, as in training: none is on the host, or in a cache, from before.
        state = jax.block_until_ready(jax.tree.map(lambda x: x * 0.999, state))
        taking.append(timed(take))
        saving.append(timed(lambda step=step: save(step)))
    reading = timed(lambda: checkpoints.restore(manager, saves - 1, state))
    newest = folder / str(saves - 1)
    seal = sum(path.stat().st_size for path in (newest / "seal").rglob("*") if path.is_file())
    whole = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
    manager.close()
    save_time, take_time = statistics.median(saving), statistics.median(taking)
    print(f"{name}: saving {save_time:.3f} s", end=", ")
    print(f"of which checksums {take_time * 1e3:.2f} ms ({take_time / save_time:.2%})", end="; ")
    print(f"restoring {reading:.3f} s", end="; ")
    print(f"{whole:,} bytes, of which the seal {seal:,} ({seal / whole:.3%})", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--saves", type=int, default=20)
    arguments = parser.parse_args()
    for name in ("vgg13", "resnet8"):
        measure(name, arguments.saves)
