"""MMKD's weight networks: who is listened to on an example, by what is seen of teachers and student."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jkd.losses.features import unit_vectors
from jkd.methods.base import TeacherOutputs
from jkd.models import Outputs
from jkd.models.layers import TORCH_LINEAR, uniform_bias
from jkd.weighting import label_probability

INPUTS = ("raw", "normalised", "label-probability")
_HIDDEN = 16  # for label probabilities, which are too few to be halved; ours, and not tuned


class WeightNetwork(nn.Module):
    """Weights of the teachers for each example of a batch: two linear layers and a softmax."""

    teachers: int
    hidden: int

    @nn.compact
    def __call__(self, inputs: Float[Array, "batch inputs"]) -> Float[Array, "batch teachers"]:
        """Returns weights that sum to 1 over the teachers."""
        hidden = nn.relu(_linear(inputs, self.hidden, "hidden"))
        return nn.softmax(_linear(hidden, self.teachers, "out"))


class Upper(NamedTuple):
    """The parameters of the two weight networks."""

    logits: PyTree
    features: PyTree


class Weights(NamedTuple):
    """Who is listened to, per example: `logits` is w, `features` u."""

    logits: Float[Array, "batch teachers"]
    features: Float[Array, "batch teachers"]


def init_weights(
    keys: Sequence[PRNGKeyArray], student: Outputs, teachers: tuple[TeacherOutputs, ...], inputs: str
) -> Upper:
    """Returns the parameters of both networks, each drawn by its key.

    Only the shapes of the outputs are needed; `inputs` is that of `teacher_weights`.
    """
    everyone = 1 + len(teachers)
    classes = student.logits.shape[-1] + sum(t.logits.shape[-1] for t in teachers)
    widths = (classes, student.logits.shape[0] * everyone)
    hidden = tuple(width // 2 for width in widths)
    if inputs == "label-probability":
        widths, hidden = (everyone, everyone), (_HIDDEN, _HIDDEN)
    return Upper(
        *(
            WeightNetwork(len(teachers), inner).init(key, jnp.zeros((1, width)))["params"]
            for key, width, inner in zip(keys, widths, hidden, strict=True)
        )
    )


def teacher_weights(
    upper: Upper,
    student: Outputs,
    teachers: tuple[TeacherOutputs, ...],
    labels: Int[Array, " batch"],
    *,
    inputs: str,
    stop_student: bool,
) -> Weights:
    """Returns both weight matrices.

    Args:
        upper: the parameters of the two weight networks.
        student: the student's outputs for the batch.
        teachers: each teacher's.
        labels: the examples' classes; only "label-probability" sees them.
        inputs: "raw", "normalised" to the same scale for every architecture, or "label-probability", of each
            teacher and the student.
        stop_student: whether the student's outputs are constants here.
    """
    seen = jax.lax.stop_gradient(student) if stop_student else student
    everyone: list[Outputs | TeacherOutputs] = [*teachers, seen]

    def weigh(parameters: PyTree, inputs: Float[Array, "batch inputs"]) -> Float[Array, "batch teachers"]:
        network = WeightNetwork(len(teachers), parameters["hidden"]["bias"].shape[-1])
        return jnp.asarray(network.apply({"params": parameters}, inputs))

    if inputs == "label-probability":
        right = label_probability(jnp.stack([o.logits for o in everyone]), labels).T
        return Weights(weigh(upper.logits, 2 * right - 1), weigh(upper.features, 2 * right - 1))
    normalised = inputs == "normalised"
    logits = jnp.concatenate([_logits(o, normalised) for o in everyone], axis=-1)
    grams = jnp.concatenate([_gram(o, normalised) for o in everyone], axis=-1)
    return Weights(weigh(upper.logits, logits), weigh(upper.features, grams))


def _linear(inputs: Float[Array, "batch inputs"], width: int, name: str) -> Float[Array, "batch width"]:
    bias = uniform_bias(inputs.shape[-1])
    return nn.Dense(width, kernel_init=TORCH_LINEAR, bias_init=bias, name=name)(inputs)


def _logits(outputs: Outputs | TeacherOutputs, normalised: bool) -> Float[Array, "batch classes"]:
    # Over the batch too: how confident an example's logits are beside the others' stays visible.
    return jax.nn.standardize(outputs.logits, axis=(0, 1)) if normalised else outputs.logits


def _gram(outputs: Outputs | TeacherOutputs, normalised: bool) -> Float[Array, "batch batch"]:
    flat = outputs.features[-1].reshape(len(outputs.logits), -1)
    if normalised:
        flat = unit_vectors(flat)
    return jnp.matmul(flat, flat.T, precision=jax.lax.Precision.HIGHEST)
