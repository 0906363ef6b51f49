"""Parts with a memory, kept in `Variables.state`: drawn from the seed, or found out before distillation.

`REMEMBERED` are weightings: a teacher's share that stays, or teachers dropped at random. `MAPS` bring all
teachers' last maps to one scale.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jkd.methods import scales
from jkd.methods.base import Examples, Preparation, TeacherOutputs
from jkd.weighting import teacher_dropping

Weights = Float[Array, "teachers batch"]
Distances = Float[Array, "teachers batch"]
Teachers = tuple[TeacherOutputs, ...]


class Found(NamedTuple):
    """What a part has found out: its state, a report that JSON can hold, and the same in words."""

    state: PyTree
    report: dict[str, Any]
    text: str


class Remembered(NamedTuple):
    """A weighting with a state. `weigh` gets Σ_j λ_j d_jk of each example, which has no gradient."""

    init: Callable[[PRNGKeyArray, int], PyTree]  # from the number of teachers
    weigh: Callable[[PyTree, Distances], tuple[Weights, PyTree]]  # and the next state
    prepare: Callable[[tuple[str, ...], Examples], Found] | None = None  # on images held out
    teachers: int | None = None  # the only number of teachers that it is for


def _shares(share: Float[Array, " teachers"], losses: Distances) -> tuple[Weights, PyTree]:
    return jnp.broadcast_to(share[:, None], losses.shape), share


def _draw(key: PRNGKeyArray, teachers: int) -> Float[Array, " teachers"]:
    """Returns a point of the simplex, all alike likely."""
    share = jax.random.exponential(key, (teachers,))
    return share / share.sum()


def _best(names: tuple[str, ...], held_out: Examples) -> Found:
    seen = held_out.observe(lambda teacher: teacher.logits.argmax(-1))
    accuracy = [float(np.mean(answers == held_out.labels)) for answers in seen]
    chosen = int(np.argmax(accuracy))
    rated = ", ".join(f"{name} {value:.2%}" for name, value in zip(names, accuracy, strict=True))
    return Found(
        np.eye(len(names), dtype=np.float32)[chosen],
        {"accuracy": dict(enumerate(accuracy)), "best": names[chosen]},
        f"the best teacher on {len(held_out.labels):,} held-out images is {names[chosen]} ({rated})",
    )


def given(shares: tuple[float, ...]) -> Remembered:
    """The same weights throughout, in proportion to `shares`."""
    share = np.asarray(shares, np.float32)
    return Remembered(lambda key, _: jnp.asarray(share / share.sum()), _shares, teachers=len(shares))


def dropping(probability: float) -> Remembered:
    """UNIC's teacher dropping; its random key is the state."""

    def weigh(state: PyTree, losses: Distances) -> tuple[Weights, PyTree]:
        now, after = jax.random.split(jax.random.wrap_key_data(state, impl="threefry2x32"))
        return teacher_dropping(now, losses, probability), jax.random.key_data(after)

    return Remembered(lambda key, teachers: jax.random.bits(key, (2,), jnp.uint32), weigh)


RANDOM = Remembered(_draw, _shares)
BEST = Remembered(lambda key, teachers: jnp.full(teachers, 1 / teachers), _shares, _best)

# What is found out before training; these maps are centred, so signed.
FOUND_MAPS = {"standardised": scales.standardiser, "phi-s": scales.phi_s}
MAPS = ("raw", "unit", *FOUND_MAPS)
_POSITIONS = 4  # along each side of a map, at most, that scales are found from


def init_maps(teachers: Teachers) -> tuple[scales.Affine, ...]:
    """Returns the maps before anything is known: teachers as they are."""
    channels = [teacher.features[-1].shape[-1] for teacher in teachers]
    return tuple(scales.Affine(jnp.zeros(count), jnp.eye(count)) for count in channels)


def with_maps(name: str, found: tuple[scales.Affine, ...], teachers: Teachers) -> Teachers:
    """Returns the teachers with their last maps as `name` has them, one of `MAPS`."""
    if name == "unit":
        return at_unit_scale(teachers)
    return _with_last(found, teachers) if name in FOUND_MAPS else teachers


def at_unit_scale(teachers: Teachers) -> Teachers:
    """Returns the teachers with last maps of mean square 1 over the batch, or of zeros as they were."""

    def scale(last: Array) -> Array:
        mean_square = jnp.mean(last**2)
        return jnp.where(mean_square > 0, jax.lax.rsqrt(jnp.maximum(mean_square, 1e-37)), 0.0) * last

    return _with_last((scale,) * len(teachers), teachers)


def _with_last(changes: Sequence[Any], teachers: Teachers) -> Teachers:
    return tuple(
        teacher._replace(features=(*teacher.features[:-1], change(teacher.features[-1])))
        for change, teacher in zip(changes, teachers, strict=True)
    )


def preparation(weighting: Remembered | None, maps: str) -> Callable[..., Preparation] | None:
    """Returns the `Method.prepare` of these parts, or None where there is nothing to find out."""

    def prepare(state: PyTree, names: tuple[str, ...], train: Examples, held_out: Examples) -> Preparation:
        del train
        found: dict[str, Found] = {}
        if weighting and weighting.prepare:
            found["weighting"] = weighting.prepare(names, held_out)
        if maps in FOUND_MAPS:
            found["maps"] = _find_maps(maps, names, held_out)
        return Preparation(
            dict(state) | {part: each.state for part, each in found.items()},
            {part: each.report for part, each in found.items()},
            "\n".join(each.text for each in found.values()),
            {},
        )

    return prepare if maps in FOUND_MAPS or (weighting and weighting.prepare) else None


def _find_maps(name: str, names: tuple[str, ...], examples: Examples) -> Found:
    """Finds the maps `FOUND_MAPS[name]` from a few positions of each image."""

    def some(teacher: TeacherOutputs) -> Array:
        height, width = teacher.features[-1].shape[1:3]
        every = slice(None, None, -(-height // _POSITIONS)), slice(None, None, -(-width // _POSITIONS))
        return teacher.features[-1][:, *every]

    samples = [seen.reshape(-1, seen.shape[-1]) for seen in examples.observe(some)]
    maps = tuple(jax.tree.map(np.float32, FOUND_MAPS[name](sample)) for sample in samples)
    squares = [float(np.mean(np.square(sample, dtype=np.float64))) for sample in samples]
    told = ", ".join(f"{teacher} {square:.3g}" for teacher, square in zip(names, squares, strict=True))
    return Found(
        maps,
        {"mean_square": dict(enumerate(squares))},
        f"last maps are {name} by {len(examples.labels):,} held-out images; mean squares before: {told}",
    )
