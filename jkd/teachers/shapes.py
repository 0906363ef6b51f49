"""The shapes of what teachers give, in JSON, so that they are known where the teachers are not."""

from typing import Any

import jax
import jax.numpy as jnp

from jkd.methods.base import TeacherOutputs
from jkd.models import Absent, Head


def shapes(outputs: TeacherOutputs) -> dict[str, Any]:
    """Returns the shapes of a teacher's outputs for one image, by name, as JSON can hold them."""

    def of(value: Any) -> Any:
        if isinstance(value, Absent):
            return None
        if isinstance(value, Head):
            return {name: list(leaf.shape) for name, leaf in value._asdict().items()}
        return [of(leaf) for leaf in value] if isinstance(value, tuple) else list(value.shape[1:])

    return {name: of(value) for name, value in outputs._asdict().items()}


def from_shapes(shapes: dict[str, Any], name: str, batch: int) -> TeacherOutputs:
    """Returns the signature of a teacher's outputs for a batch: the inverse of `shapes`."""

    def array(shape: Any) -> Any:
        return jax.ShapeDtypeStruct(tuple(shape), jnp.float32)

    def of(field: str, value: Any) -> Any:
        if value is None:
            return Absent(field, name)
        if isinstance(value, dict):
            return Head(**{leaf: array(shape) for leaf, shape in value.items()})
        if value and isinstance(value[0], list):
            return tuple(array([batch, *shape]) for shape in value)
        return array([batch, *value])

    return TeacherOutputs(**{field: of(field, value) for field, value in shapes.items()})
