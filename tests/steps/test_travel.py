"""What devices send each other in a step, read from the programs compiled for eight: no images.

Gradients, batch statistics, metrics and what else is of no image alone may; of images and maps, all that is
as large as one of them is refused.
"""

import json
import os
import subprocess
import sys
from math import prod
from pathlib import Path

import pytest
from tiny_steps import BATCH, CLASSES, SHAPE

from jkd import methods

IMAGE = prod(SHAPE[1:])
MAP = 4 * 4 * 6  # a teacher's last, the smallest
# What compares all examples with all: Gram matrices of flattened last maps, AMTMLKD's angles between logits.
MAPS = {(BATCH, width * 4 * 4) for width in (6, 8)}
OF_PAIRS = {"mkcd": MAPS, "amtmlkd": {(CLASSES, BATCH, BATCH)}}
CASES = [
    # The quick one has all there is: held-out images, an upper level, batches that are given.
    pytest.param(name, given, marks=() if (name, given) == ("bomd", "batches") else pytest.mark.slow)
    for name in methods.METHODS
    for given in ("", "batches")
]


def sent(name, *given):
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, Path(__file__).parents[1] / "tiny_devices.py", name, *given]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(found, of_pairs):
    assert found["devices"] == BATCH and found["sent"]
    shapes = found["learned"]
    shapes += [
        [*shape[:-1], 2 * shape[-1]] for shape in shapes if shape
    ]  # regressors of both teachers in one
    learned = {tuple(sorted(shape)) for shape in shapes}  # gradients may be transposed

    def allowed(kind, shape):
        if prod(shape) < MAP:
            return True
        form = tuple(sorted(shape))
        return form in of_pairs or (kind == "all-reduce" and form in learned)

    return {(kind, tuple(shape)) for kind, shape in found["sent"] if not allowed(kind, shape)}


@pytest.mark.parametrize(("name", "given"), CASES)
def test_no_image_leaves_its_device(name, given):
    assert not refused(sent(name, given), OF_PAIRS.get(name, set()))


@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["raw", "normalised"])
def test_only_maps_travel_for_gram_matrices(inputs):
    found = sent("mmkd", "", f"weight_inputs={inputs}")
    assert refused(found, set())
    assert not refused(found, MAPS)
