"""Networks, by the names that RepDistiller, MMKD and MTKD-RL give them; torchvision's as NAME_imagenet.

docs/networks.md has a table of them.

A network is a Flax module. `jax.jit(model.init)(key, images)` gives its variables, "params" and
"batch_stats"; `model.apply(variables, images, train=False)` its `Outputs`. With `train=True` batch norm uses
the batch's own statistics, and `model.apply(variables, images, train=True, mutable=["batch_stats"])` gives
the outputs and the new running ones.

Inside, modules are named as in the PyTorch originals with "_" for ".": `jkd.interop.torch` relies on it.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from jkd.errors import UserError, nearest
from jkd.models.base import Absent, Head, Outputs, head
from jkd.models.mobilenet import MobileNetV2
from jkd.models.own import OwnNetwork
from jkd.models.regnet import RegNet
from jkd.models.resnet import ResNet
from jkd.models.resnet_imagenet import ResNetImageNet
from jkd.models.shufflenet_v1 import ShuffleNetV1
from jkd.models.shufflenet_v2 import ShuffleNetV2
from jkd.models.vgg import VGG
from jkd.models.wrn import WideResNet

__all__ = ["Absent", "Head", "Outputs", "OwnNetwork", "create", "head", "maker", "names", "register"]

_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(ResNet, depth, (16, 16, 32, 64)) for depth in (8, 14, 20, 32, 44, 56, 110)},
    **{f"resnet{depth}x4": partial(ResNet, depth, (32, 64, 128, 256)) for depth in (8, 20, 32)},
    **{f"wrn_{depth}_{widen}": partial(WideResNet, depth, widen) for depth in (16, 40) for widen in (1, 2)},
    "wrn_28_4": partial(WideResNet, 28, 4),
    "vgg8": partial(VGG, (1, 1, 1, 1, 1)),
    "vgg11": partial(VGG, (1, 1, 2, 2, 2)),
    "vgg13": partial(VGG, (2, 2, 2, 2, 2)),
    "vgg16": partial(VGG, (2, 2, 3, 3, 3)),
    "vgg19": partial(VGG, (2, 2, 4, 4, 4)),
    "ResNet50": partial(ResNetImageNet, (3, 4, 6, 3), bottleneck=True, small=True),
    "MobileNetV2": partial(MobileNetV2, 0.5),
    "MobileNetV2_1_0": partial(MobileNetV2, 1.0),
    "ShuffleV1": ShuffleNetV1,
    "ShuffleV2": partial(ShuffleNetV2, (116, 232, 464)),
    "ShuffleV2_0_5": partial(ShuffleNetV2, (48, 96, 192)),
    "RegNetX_200MF": partial(RegNet, (1, 1, 4, 7), (24, 56, 152, 368), 8),
    "RegNetX_400MF": partial(RegNet, (1, 2, 7, 12), (32, 64, 160, 384), 16),
    "RegNetY_400MF": partial(RegNet, (1, 2, 7, 12), (32, 64, 160, 384), 16, weighs=True),
    "resnet10_imagenet": partial(ResNetImageNet, (1, 1, 1, 1)),
    "resnet18_imagenet": partial(ResNetImageNet, (2, 2, 2, 2)),
    "resnet34_imagenet": partial(ResNetImageNet, (3, 4, 6, 3)),
    "resnet34x2_imagenet": partial(ResNetImageNet, (3, 4, 6, 3), width=2),
    "resnet34x4_imagenet": partial(ResNetImageNet, (3, 4, 6, 3), width=4),
    "resnet50_imagenet": partial(ResNetImageNet, (3, 4, 6, 3), bottleneck=True),
    "resnet101_imagenet": partial(ResNetImageNet, (3, 4, 23, 3), bottleneck=True),
    "mobilenet_v2_imagenet": partial(MobileNetV2, 1.0, imagenet=True),
    "shufflenet_v2_x1_0_imagenet": partial(ShuffleNetV2, (116, 232, 464), imagenet=True),
}


_OWN = frozenset(_NETWORKS)


def register(name: str, make: Callable[..., nn.Module]) -> None:
    """Makes a network known under a name, as a student and as a teacher that jkd trains.

    Registering a name again replaces what it stood for, as running a notebook's cell again does.

    Args:
        name: its name.
        make: a function or class that is called with `num_classes=` and, where it takes one, `dtype=`, and
            gives a Flax Linen module; see `OwnNetwork` for what that must do.

    Raises:
        UserError: the name is one of jkd's own networks, or cannot be told from a path.
    """
    if name in _OWN:
        raise UserError(f"there is a network '{name}' in jkd already: give yours another name")
    if not name or set(name) & set("@,:/"):
        raise UserError(f"'{name}' cannot name a network: leave out @ , : and /")
    _NETWORKS[name] = make


def create(name: str, num_classes: int, dtype: DTypeLike = jnp.float32) -> Any:
    """Returns the network of that name; jkd's are for images of 8x8 and more.

    Args:
        name: one of `names()`.
        num_classes: the length of the logits.
        dtype: the type of the computation, such as `jnp.bfloat16`. Parameters, batch statistics and outputs
            are float32 all the same.

    Raises:
        UserError: there is no network of that name, it takes no other type, or `num_classes` is not positive.
    """
    if num_classes < 1:
        raise UserError(f"a network needs at least one class, not {num_classes}")
    make = maker(name)
    if name in _OWN:
        return make(num_classes=num_classes, dtype=dtype)
    if "dtype" in inspect.signature(make).parameters:
        return OwnNetwork(make(num_classes=num_classes, dtype=dtype), name)
    if jnp.dtype(dtype) != jnp.float32:
        raise UserError(f"network '{name}' takes no dtype, so that it cannot compute in {jnp.dtype(dtype)}")
    return OwnNetwork(make(num_classes=num_classes), name)


def maker(name: str) -> Callable[..., nn.Module]:
    """Returns what makes the network of that name.

    Raises:
        UserError: there is none.
    """
    if name not in _NETWORKS:
        raise UserError(f"unknown network '{name}'{nearest(name, names())}: choose from {', '.join(names())}")
    return _NETWORKS[name]


def names() -> tuple[str, ...]:
    """Returns the names of all networks."""
    return tuple(_NETWORKS)
