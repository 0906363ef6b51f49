"""Orthonormal maps between a teacher's feature space and the student's, one for each teacher (BOMD's)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jkd.losses.features import match_size, orthogonal_alignment
from jkd.methods.base import TeacherOutputs
from jkd.models import Outputs

# Tall, so that its columns are orthonormal whichever side has more channels.
Projection = Float[Array, "more fewer"]


def init_projections(
    key: PRNGKeyArray, student: Outputs, teachers: tuple[TeacherOutputs, ...]
) -> tuple[Projection, ...]:
    """Returns the point of the Stiefel manifold that makes channel i of the one channel i of the other.

    Both maps come out of a ReLU: rotated at random, half of what the student is asked for is negative, and
    the least distance that any map could reach is 0.59 (of a ResNet-20's, at equal widths) in place of 0.
    """
    del key
    ours = student.features[-1].shape[-1]
    widths = [teacher.features[-1].shape[-1] for teacher in teachers]
    return tuple(jnp.eye(max(ours, theirs), min(ours, theirs)) for theirs in widths)


def alignment_distances(
    projections: tuple[Projection, ...],
    student: Outputs,
    teachers: tuple[TeacherOutputs, ...],
    standardise: bool = False,
) -> Float[Array, "teachers batch"]:
    """Returns the distance of each example between the directions of F_s and F_k, last feature maps.

    They are compared in the wider of the two spaces, into which P_k carries the narrower map whole. A wider
    teacher's F_k P_k still is what the student is asked for, ⟨F_s P_kᵀ, F_k⟩ = ⟨F_s, F_k P_k⟩, but measured
    by the length of all of F_k. By its own, P_k would make the distance small by leaving out of F_k what the
    student does not have, and what it keeps would teach nothing (see experiments/results/upper-level).

    Args:
        projections: P_k, [D_k, D_s] for a wider teacher, else its transpose.
        student: the student's outputs for the batch.
        teachers: each teacher's.
        standardise: whether each teacher channel is standardised over the batch first.
    """

    def distance(projection: Projection, teacher: TeacherOutputs) -> Float[Array, " batch"]:
        ours, theirs = match_size(student.features[-1], teacher.features[-1])
        if standardise:
            theirs = jax.nn.standardize(theirs, axis=(0, 1, 2))
        if ours.shape[-1] < theirs.shape[-1]:
            ours = ours @ projection.T
        else:
            theirs = theirs @ projection.T
        return orthogonal_alignment(ours, theirs)

    return jnp.stack([distance(p, t) for p, t in zip(projections, teachers, strict=True)])
