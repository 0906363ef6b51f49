"""A small run to damage: two checkpoints, of two items, and a record a step."""

import chex
import jax
import jax.numpy as jnp

from jkd.run import Run

CONFIG = {"method": "scratch"}
LAST = 3


def make_state(step):
    """A training state in small: its numbers tell the step."""
    kernel = jnp.sin(jnp.arange(24_000.0) + step).reshape(3, 8, 1000)
    return {
        "student": {"params": {"kernel": kernel}, "batch_stats": {"mean": jnp.full(8, step, jnp.bfloat16)}},
        "training": {"momentum": kernel / 2, "step": jnp.int32(step), "key": jax.random.key(step)},
    }


def abstract():
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), make_state(0))


def bits(tree):
    is_key = lambda x: jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)  # noqa: E731
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, tree)


def assert_same(actual, expected):
    chex.assert_trees_all_equal(bits(actual), bits(expected), strict=True)


def resume(folder):
    """Goes on from a folder; asserts that state and records were once saved together; returns their step."""
    with Run.open(folder, CONFIG) as run:
        step, state = run.restore(abstract())
        assert_same(state, make_state(step))
        assert [record["step"] for record in run.records] == list(range(1, step + 1))
        run.log(step + 1, {"epoch": step + 1})
        run.save(step + 1, make_state(step + 1))
    with Run.open(folder, CONFIG) as run:
        assert run.restore(abstract())[0] == step + 1
    return step
