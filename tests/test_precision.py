"""What rounding to few digits would spoil keeps float32's on GPUs and TPUs: read in the lowered programs."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from jkd import stiefel
from jkd.losses import relations
from jkd.methods.mmkd_weights import _gram
from jkd.minimum_norm import minimum_norm_weights
from jkd.models import Outputs


def gram(maps, normalised):
    return _gram(Outputs(jnp.zeros((6, 4)), (maps,), jnp.zeros((6, 4))), normalised)


MAPS = (6, 4, 4, 3)
SENSITIVE = {
    "retraction": (stiefel.retract, (8, 3), (8, 3)),
    "tangent": (stiefel.project_tangent, (8, 3), (8, 3)),
    "minimum norm": (partial(minimum_norm_weights, cap=1.0), (3, 5)),
    "similarity": (relations.similarity, MAPS, MAPS),
    "angle": (relations.angle, (6, 5), (6, 5)),
    "mmkd's maps": (partial(gram, normalised=False), MAPS),
    "mmkd's maps, normalised": (partial(gram, normalised=True), MAPS),
}


@pytest.mark.parametrize("name", SENSITIVE)
def test_products_keep_the_digits_of_float32_forwards_and_backwards(name):
    function, *shapes = SENSITIVE[name]
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]

    def both(*arguments):
        result, pull = jax.vjp(function, *arguments)
        return result, pull(result)

    program = jax.jit(both).trace(*arguments)
    text = program.lower(lowering_platforms=("tpu",)).as_text()
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert products and all("precision = [HIGHEST, HIGHEST]" in line for line in products)
