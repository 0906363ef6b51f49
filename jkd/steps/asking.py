"""What teachers say of the student's images."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, PyTree

from jkd.methods.base import TeacherOutputs
from jkd.models import Head, Outputs, head


class TeacherNetwork(NamedTuple):
    """A teacher's pure functions of its variables: its outputs for the student's images, and its head."""

    outputs: Callable[[PyTree, Float[Array, "b h w c"]], Outputs]
    head: Callable[[PyTree], Head]

    @classmethod
    def of(cls, network: Any) -> "TeacherNetwork":
        """Returns those of a network of `jkd.models` that sees images as the student does."""
        return cls(partial(network.apply, train=False), head)


def teacher_outputs(
    networks: tuple[TeacherNetwork, ...], teachers: PyTree, images: Float[Array, "b h w c"]
) -> tuple[TeacherOutputs, ...]:
    """Returns what each teacher says of the images, in evaluation mode and without a gradient."""
    return jax.lax.stop_gradient(
        tuple(
            TeacherOutputs(**network.outputs(variables, images)._asdict(), head=network.head(variables))
            for network, variables in zip(networks, teachers, strict=True)
        )
    )
