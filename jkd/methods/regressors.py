"""Learned maps from the student's features to a teacher's channels, one for each teacher.

Given by the published code of CA-MKD and MMKD: convolutions, each with batch norm and ReLU. Before them the
larger of two maps of different size is average-pooled to the smaller, as in MMKD's (CA-MKD's enlarges the
student's where it is the smaller). Regressors are trained with the student and only ever see training
batches: the running averages of their batch norm are never read, and ours have none.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jkd.losses.features import match_size, mse
from jkd.methods.base import TeacherOutputs
from jkd.models import Outputs
from jkd.models.layers import TORCH_LINEAR, uniform_bias

FORMS = ("linear", "conv")

Map = Float[Array, "batch height width channels"]


class Regressor(nn.Module):
    """Carries the student's feature map to a teacher's channels; batch norm is by the batch, always.

    "linear" is one 1×1 convolution, "conv" a 1×1 to half the student's channels, a 3×3 and a 1×1; each is
    followed by batch norm and ReLU. "signed" is "linear" without the ReLU, for maps that have been centred.
    """

    channels: int
    form: str = "linear"

    @nn.compact
    def __call__(
        self, features: Float[Array, "batch height width from"]
    ) -> Float[Array, "batch height width channels"]:
        """Returns the map with `channels` channels."""
        half = features.shape[-1] // 2
        layers = {
            "linear": ((self.channels, 1),),
            "signed": ((self.channels, 1),),
            "conv": ((half, 1), (half, 3), (self.channels, 1)),
        }[self.form]
        x = features
        for i, (channels, kernel) in enumerate(layers):
            x = nn.Conv(
                channels,
                (kernel, kernel),
                kernel_init=TORCH_LINEAR,
                bias_init=uniform_bias(kernel**2 * x.shape[-1]),
                name=f"conv{i}",
            )(x)
            x = nn.BatchNorm(use_running_average=False, epsilon=1e-5, name=f"norm{i}")(x)
            x = x if self.form == "signed" else nn.relu(x)
        return x


def init_regressor(key: PRNGKeyArray, student: Map, teacher: Map, form: str = "linear") -> PyTree:
    """Returns a regressor's parameters, from the shapes of the two maps that it joins."""
    example = jnp.zeros((1, 1, 1, student.shape[-1]))
    return Regressor(teacher.shape[-1], form).init(key, example)["params"]


def regress(params: PyTree, student: Map, teacher: Map, form: str = "linear") -> tuple[Map, Map]:
    """Returns r(F_s) and the teacher's map, of the same shape."""
    ours, theirs = match_size(student, teacher)
    return _apply(params, ours, theirs.shape[-1], form), theirs


def init_regressors(
    key: PRNGKeyArray, student: Outputs, teachers: tuple[TeacherOutputs, ...], form: str = "linear"
) -> tuple[PyTree, ...]:
    """Returns the parameters of a regressor for each teacher, between last feature maps."""
    keys = jax.random.split(key, len(teachers))
    return tuple(
        init_regressor(k, student.features[-1], teacher.features[-1], form)
        for k, teacher in zip(keys, teachers, strict=True)
    )


def feature_errors(
    params: tuple[PyTree, ...],
    student: Outputs,
    teachers: tuple[TeacherOutputs, ...],
    form: str = "linear",
) -> Float[Array, "teachers batch"]:
    """Returns mse_k of each example, between teacher k's last map and its regressor's.

    Regressors of one layer that see the same map are one convolution, to the channels of all their teachers:
    batch norm and ReLU treat each channel by itself.
    """
    pairs = [match_size(student.features[-1], teacher.features[-1]) for teacher in teachers]
    together: dict[Any, list[int]] = {}
    for k, (ours, _) in enumerate(pairs):
        together.setdefault(k if form == "conv" else ours.shape, []).append(k)
    errors = {}
    for members in together.values():
        joined = jax.tree.map(lambda *each: jnp.concatenate(each, -1), *(params[k] for k in members))
        # Without it XLA (of jax 0.10.2) joins biases inside the gradient's kernels for GPUs, and fails at it.
        joined = jax.lax.optimization_barrier(joined)
        *ends, channels = itertools.accumulate(pairs[k][1].shape[-1] for k in members)
        mapped = _apply(joined, pairs[members[0]][0], channels, form)
        for k, one in zip(members, jnp.split(mapped, ends, -1), strict=True):
            errors[k] = mse(one, pairs[k][1])
    return jnp.stack([errors[k] for k in range(len(teachers))])


def _apply(params: PyTree, student: Map, channels: int, form: str) -> Map:
    # Batch norm keeps running averages here because flax has no other; nobody reads them.
    return Regressor(channels, form).apply({"params": params}, student, mutable=["batch_stats"])[0]
