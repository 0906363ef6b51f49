"""One scale for all teachers' features: affine maps found from samples, once, before training.

A teacher whose features vary more weighs more in any squared error, whoever is listened to; after one of
these every teacher's vary alike. Plain numpy in double precision: this runs once.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float
from scipy.linalg import hadamard

_LEAST = 1e-6  # of the largest deviation: a channel that varies less is taken for constant


class Affine(NamedTuple):
    """x ↦ (x − mean) @ matrix, over the last axis."""

    mean: Float[Any, " channels"]
    matrix: Float[Any, "channels channels"]

    def __call__(self, x: Float[Array, "... channels"]) -> Float[Array, "... channels"]:
        """Returns the mapped features."""
        return (x - self.mean) @ self.matrix


def standardiser(samples: Float[np.ndarray, "samples channels"]) -> Affine:
    """Gives every channel mean 0 and deviation 1; constant ones become zero.

    Source: what UNIC (Sariyildiz et al., ECCV 2024) does with each teacher's features, there by statistics
    that its training gathers.
    """
    samples = np.asarray(samples, np.float64)
    deviations = samples.std(axis=0)
    varied = deviations > _LEAST * deviations.max(initial=0)
    scales = np.where(varied, 1 / np.where(varied, deviations, 1.0), 0.0)
    return Affine(samples.mean(axis=0), np.diag(scales))


def phi_s(samples: Float[np.ndarray, "samples channels"]) -> Affine:
    """PHI-S: rotates features so that all channels vary alike, then gives them deviation 1 by one scale.

    The rotation is to principal axes, then by a Hadamard matrix over √n, which spreads each axis evenly over
    the channels. Lengths and angles among centred features are kept up to the scale, whatever their rank.

    Source: Ranzinger et al., "PHI-S: distribution balancing for label-free multi-teacher distillation", ICLR
    2025, and the code in github.com/NVlabs/RADIO. Ours: where the channels are no power of two, rotations of
    planes that make all variances equal (Schur and Horn); there Paley's matrices, or an approximation.
    """
    samples = np.asarray(samples, np.float64)
    mean = samples.mean(axis=0)
    covariance = np.atleast_2d(np.cov(samples - mean, rowvar=False))
    variances, axes = np.linalg.eigh(covariance)
    variances = variances.clip(0)
    channels = len(variances)
    spread = (
        hadamard(channels) / np.sqrt(channels)
        if channels & (channels - 1) == 0
        else _equal_diagonal(np.diag(variances))
    )
    deviation = np.sqrt(variances.mean())
    return Affine(mean, axes @ spread.T / deviation if deviation > 0 else np.zeros_like(axes))


def _equal_diagonal(symmetric: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Returns a rotation R for which the diagonal of R S Rᵀ is constant: n − 1 rotations of a plane."""
    matrix, rotation = symmetric.copy(), np.eye(len(symmetric))
    left = list(range(len(matrix)))
    target = np.trace(matrix) / len(matrix)
    while len(left) > 1:
        diagonal = np.diag(matrix)[left]
        low, high = left[int(diagonal.argmin())], left[int(diagonal.argmax())]
        if low == high:
            break
        # tan of the angle that brings entry (low, low) to the target, which lies between the two.
        a, b, c = (matrix[i, j] - (i == j) * target for i, j in ((low, low), (low, high), (high, high)))
        root = np.sqrt(max(b * b - a * c, 0.0))
        tangent = -a / (b + np.copysign(root, b)) if b or root else 0.0
        cosine = 1 / np.hypot(1.0, tangent)
        plane = np.eye(len(matrix))
        plane[[low, low, high, high], [low, high, low, high]] = cosine * np.array([1, tangent, -tangent, 1])
        matrix, rotation = plane @ matrix @ plane.T, plane @ rotation
        left.remove(low)
    return rotation
