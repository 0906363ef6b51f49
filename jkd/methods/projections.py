"""Orthonormal maps from a teacher's feature space to the student's, one for each teacher (BOMD's)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jkd import stiefel
from jkd.losses.features import match_size, orthogonal_alignment
from jkd.methods.base import TeacherOutputs
from jkd.models import Outputs

# Tall, so that its columns are orthonormal whichever side has more channels.
Projection = Float[Array, "more fewer"]


def init_projections(
    key: PRNGKeyArray, student: Outputs, teachers: tuple[TeacherOutputs, ...]
) -> tuple[Projection, ...]:
    """Returns a random point on the Stiefel manifold for each teacher."""
    ours = student.features[-1].shape[-1]
    found = []
    for k, teacher in zip(jax.random.split(key, len(teachers)), teachers, strict=True):
        theirs = teacher.features[-1].shape[-1]
        found.append(stiefel.random_point(k, (max(ours, theirs), min(ours, theirs))))
    return tuple(found)


def alignment_distances(
    projections: tuple[Projection, ...],
    student: Outputs,
    teachers: tuple[TeacherOutputs, ...],
    standardise: bool = False,
) -> Float[Array, "teachers batch"]:
    """Returns the distance of each example between the directions of F_s and F_k P_k, last feature maps.

    Args:
        projections: P_k, or its transpose where the teacher has fewer channels than the student.
        student: the student's outputs for the batch.
        teachers: each teacher's.
        standardise: whether each teacher channel is standardised over the batch before its projection.
    """

    def distance(projection: Projection, teacher: TeacherOutputs) -> Float[Array, " batch"]:
        ours, theirs = match_size(student.features[-1], teacher.features[-1])
        if standardise:
            theirs = jax.nn.standardize(theirs, axis=(0, 1, 2))
        to_student = projection if theirs.shape[-1] >= ours.shape[-1] else projection.T
        return orthogonal_alignment(ours, theirs @ to_student)

    return jnp.stack([distance(p, t) for p, t in zip(projections, teachers, strict=True)])
