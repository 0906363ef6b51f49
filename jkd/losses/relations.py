"""Losses between the relations that the examples of a batch have in two networks.

Each value belongs to one example, but depends on the whole batch. Both networks' representations are
flattened; they may differ in shape after the batch axis.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jkd.losses.features import unit_vectors


def similarity(a: Float[Array, "batch ..."], b: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """Similarity-preserving distillation (SP): mean squared difference of an example's similarities to all.

    The similarities of an example are its inner products with all examples, divided by their norm.

    Source: Tung and Mori, "Similarity-preserving knowledge distillation", ICCV 2019, section 3; the mean over
    examples of the result is their loss.
    """
    return jnp.mean((_similarities(a) - _similarities(b)) ** 2, axis=1)


def distance(a: Float[Array, "batch ..."], b: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """Relational distillation by distance (RKD-D): mean Huber loss of an example's distances to all examples.

    Distances are divided by their mean over the pairs of distinct points of the batch. Memory grows with
    batch² · features.

    Source: Park et al., "Relational knowledge distillation", CVPR 2019, section 3.2.1; the mean over examples
    of the result is the published code's loss, which counts the zero distance of each example to itself.
    """
    return optax.losses.huber_loss(_distances(a), _distances(b)).mean(axis=1)


def angle(a: Float[Array, "batch ..."], b: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """Relational distillation by angle (RKD-A): mean Huber loss of the cosines of all angles at an example.

    The angle at i of the triple (i, j, k) is the one between the directions from i to j and from i to k.
    Memory grows with batch² · (batch + features).

    Source: Park et al., "Relational knowledge distillation", CVPR 2019, section 3.2.2; the mean over examples
    of the result is the published code's loss, which counts triples with repeated examples.
    """
    return optax.losses.huber_loss(_cosines(a), _cosines(b)).mean(axis=(1, 2))


def _similarities(x: Float[Array, "batch ..."]) -> Float[Array, "batch batch"]:
    x = x.reshape(len(x), -1)
    return unit_vectors(jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST))


def _differences(x: Float[Array, "batch ..."]) -> Float[Array, "batch batch features"]:
    # Not from the matrix of inner products, whose cancellation in float32 swamps the distances of close
    # points.
    x = x.reshape(len(x), -1)
    return x[None, :, :] - x[:, None, :]


def _distances(x: Float[Array, "batch ..."]) -> Float[Array, "batch batch"]:
    squared = jnp.sum(_differences(x) ** 2, axis=-1)
    distinct = squared > 0
    distances = jnp.where(distinct, jnp.sqrt(jnp.where(distinct, squared, 1.0)), 0.0)
    mean = distances.sum() / jnp.maximum(distinct.sum(), 1)
    return distances / jnp.where(distinct.any(), mean, 1.0)


def _cosines(x: Float[Array, "batch ..."]) -> Float[Array, "batch batch batch"]:
    directions = unit_vectors(_differences(x))
    return jnp.einsum("ijd,ikd->ijk", directions, directions, precision=jax.lax.Precision.HIGHEST)
