"""How PyTorch calls the entries of a network's state dict, and how they lie in our variables.

A module of ours has its original's name with "_" for ".", so names convert by rule: the kernel of "conv1" in
"layer1_0" is "layer1.0.conv1.weight". Kernels of convolutions go from OIHW to HWIO, matrices are transposed.
RepDistiller, mdistiller, MMKD, CA-MKD, MTKD-RL, torchvision and timm (its ResNets) call the entries of the
same network alike, so that one rule does for all.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from jkd import models

LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_TO_TORCH = {2: (1, 0), 4: (3, 2, 0, 1)}


class Entry(NamedTuple):
    """One entry of a state dict."""

    path: tuple[str, ...]  # in the variables
    shape: tuple[int, ...]  # in the state dict


def entries(name: str) -> dict[str, Entry]:
    """Returns the entries of a network's state dict, for one class, without PyTorch's counts of batches."""
    network = models.create(name, 1)
    return _entries(network) if isinstance(network, models.OwnNetwork) else _published(network)


def _entries(network: Any) -> dict[str, Entry]:
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    return {
        key(path): Entry(path, tuple(leaf.shape[axis] for axis in to_torch(leaf.ndim)))
        for path, leaf in flatten_dict(variables).items()
    }


_published = functools.cache(_entries)  # up to a second each


def key(path: tuple[str, ...]) -> str:
    """Returns the name of an entry by its path in the variables."""
    _, *modules, leaf = path  # the first is the collection
    return ".".join([*modules, ""]).replace("_", ".") + LEAVES.get(leaf, leaf)


def to_torch(axes: int) -> tuple[int, ...]:
    """Returns the order that PyTorch has our axes in, by their number."""
    return _TO_TORCH.get(axes, tuple(range(axes)))
