"""The ways in which layers are computed give what XLA's own do."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from jkd.models.grouped import grouped_conv
from jkd.models.layers import max_pool_overlapping


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


CONVOLUTIONS = pytest.mark.parametrize(
    ("channels", "features", "groups", "size", "stride"),
    [(4, 4, 4, 3, 1), (4, 4, 4, 3, 2), (6, 9, 3, 1, 1), (6, 4, 2, 3, 2), (3, 6, 3, 3, 1), (96, 6, 3, 3, 1)],
)


@CONVOLUTIONS
def test_convolutions_and_their_derivatives_are_xlas(channels, features, groups, size, stride):
    x, kernel = draw(0, 2, 5, 4, channels), draw(1, size, size, channels // groups, features)
    kernel /= np.sqrt(kernel[..., 0].size)  # outputs of one size: the sine of large ones magnifies rounding
    tangents = draw(2, *x.shape), draw(3, *kernel.shape)

    def results(conv):
        def f(x, kernel):
            y = conv(
                x,
                kernel,
                (stride, stride),
                ((size // 2, size // 2),) * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=groups,
            )
            return jnp.sin(y).sum(), y

        gradient = jax.grad(f, (0, 1), has_aux=True)
        # Hypergradients differentiate forwards over a gradient.
        return jax.jit(lambda *at: jax.jvp(gradient, at, tangents, has_aux=False))(x, kernel)

    chex.assert_trees_all_close(
        results(grouped_conv), results(lax.conv_general_dilated), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (5, 8), (7, 7)])
def test_overlapping_maxima_are_flax(size):
    x, cotangent = draw(0, 2, *size, 3), draw(1, 2, *(-(-side // 2) for side in size), 3)
    ours, theirs = (
        jax.vjp(lambda x, pool=pool: pool(nn.relu(x)), x)  # the border is of zeros: it comes after a ReLU
        for pool in (
            max_pool_overlapping,
            lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))),
        )
    )
    chex.assert_trees_all_equal(ours[0], theirs[0])
    chex.assert_trees_all_close(ours[1](cotangent), theirs[1](cotangent), rtol=1e-6)
