"""Networks, by the names that RepDistiller gives them.

A network is a Flax module. `jax.jit(model.init)(key, images)` gives its variables, "params" and
"batch_stats"; `model.apply(variables, images, train=False)` its `Outputs`. With `train=True` batch norm uses
the batch's own statistics, and `model.apply(variables, images, train=True, mutable=["batch_stats"])` gives
the outputs and the new running ones.

Inside, modules are named as in the PyTorch originals with "_" for ".": `jkd.interop.torch` relies on it.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jkd.errors import UserError, nearest
from jkd.models.base import Head, Outputs, head
from jkd.models.resnet import ResNet
from jkd.models.vgg import VGG
from jkd.models.wrn import WideResNet

__all__ = ["Head", "Outputs", "create", "head", "names"]

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(ResNet, depth, (16, 16, 32, 64)) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": partial(ResNet, depth, (32, 64, 128, 256)) for depth in (8, 20, 32)},
    **{f"wrn_{depth}_{widen}": partial(WideResNet, depth, widen) for depth in (16, 40) for widen in (1, 2)},
    "vgg8": partial(VGG, (1, 1, 1, 1, 1)),
    "vgg11": partial(VGG, (1, 1, 2, 2, 2)),
    "vgg13": partial(VGG, (2, 2, 2, 2, 2)),
    "vgg16": partial(VGG, (2, 2, 3, 3, 3)),
    "vgg19": partial(VGG, (2, 2, 4, 4, 4)),
}


def create(name: str, num_classes: int, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """Returns the network of that name, for images of 8x8 and more.

    Args:
        name: one of `names()`.
        num_classes: the length of the logits.
        dtype: the type of the computation, such as `jnp.bfloat16`. Parameters, batch statistics and outputs
            are float32 all the same.

    Raises:
        UserError: there is no network of that name, or `num_classes` is not positive.
    """
    if name not in _NETWORKS:
        raise UserError(f"unknown network '{name}'{nearest(name, names())}: choose from {', '.join(names())}")
    if num_classes < 1:
        raise UserError(f"a network needs at least one class, not {num_classes}")
    return _NETWORKS[name](num_classes=num_classes, dtype=dtype)


def names() -> tuple[str, ...]:
    """Returns the names of all networks."""
    return tuple(_NETWORKS)
