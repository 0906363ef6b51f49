"""PyTorch state dicts of the published networks to variables of ours, and back, without PyTorch.

A module of ours has its original's name with "_" for ".", so names convert by rule: the kernel of "conv1" in
"layer1_0" is "layer1.0.conv1.weight". Kernels of convolutions go from OIHW to HWIO, matrices are transposed.
"""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import ArrayLike
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jkd import models
from jkd.errors import UserError
from jkd.machine import archive

_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_TO_TORCH = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}  # the order of the axes, by their number


class _Entry(NamedTuple):
    path: tuple[str, ...]  # in the variables
    shape: tuple[int, ...]  # in the state dict


def from_state_dict(name: str, entries: Mapping[str, ArrayLike]) -> dict[str, Any]:
    """Returns the variables of the network `name` that a PyTorch state dict holds.

    Args:
        name: one of `jkd.models.names()`.
        entries: the state dict. The classifier's shape gives the number of classes. A leading "module.", as
            PyTorch's data parallelism has it, is dropped; "num_batches_tracked" is ignored.

    Returns:
        `{"params": ..., "batch_stats": ...}` in float32, for `jkd.models.create(name, classes)`.

    Raises:
        UserError: entries are missing, unexpected, wrongly shaped, not floating-point or not finite, a
            variance is negative, or there is no network of that name.
    """
    given = {
        entry.removeprefix("module."): np.asarray(value)
        for entry, value in entries.items()
        if not entry.endswith("num_batches_tracked")
    }
    weight = next(key for key, entry in _expected(name, 1).items() if len(entry.shape) == 2)
    classifier = [given[key] for key in (weight, weight.replace("weight", "bias")) if key in given]
    classes = classifier[0].shape[:1] if classifier else ()
    expected = _expected(name, max((1, *classes)))

    wrong = [key for key in expected if key in given and given[key].shape != expected[key].shape]
    faults = {
        "missing": [key for key in expected if key not in given],
        "unexpected": [key for key in given if key not in expected],
        "wrongly shaped": [f"{key} {given[key].shape}, should be {expected[key].shape}" for key in wrong],
        "of another type": [
            f"{key} {value.dtype}, should be float16 to float64"
            for key, value in given.items()
            if not _is_float(value)
        ],
    }
    if any(faults.values()):
        told = (f"{len(found)} {kind} ({_first(found)})" for kind, found in faults.items() if found)
        raise UserError(f"not a state dict of {name}: {'; '.join(told)}")
    values = {key: given[key].astype(np.float32) for key in expected}
    if untrained := [fault for key, value in values.items() for fault in _faulty_values(key, value)]:
        raise UserError(f"the weights are no trained {name}: {_first(untrained)}")
    return unflatten_dict(
        {
            path: jnp.asarray(values[key].transpose(np.argsort(_TO_TORCH[len(shape)])))
            for key, (path, shape) in expected.items()
        }
    )


def to_state_dict(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the variables of a network of `jkd.models` as a PyTorch state dict.

    PyTorch loads it strictly into the published network ("num_batches_tracked" is not needed for that).
    """
    return {
        # safetensors writes the memory as it lies, so it must lie in order.
        _key(path): np.ascontiguousarray(np.asarray(leaf).transpose(_TO_TORCH[leaf.ndim]))
        for path, leaf in flatten_dict(variables).items()
    }


def load_state_dict(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a state dict from an `.npz` or `.safetensors` file.

    Raises:
        UserError: there is no such file, it cannot be read, or it has another suffix.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".safetensors"):
        raise UserError(f"a state dict must be an .npz or .safetensors file, not '{path}'")
    if not path.is_file():
        raise UserError(f"there is no file '{path}'; give an .npz or .safetensors file")
    try:
        if path.suffix == ".npz":
            return archive.read(path)
        return load_file(path)
    except (KeyError, AttributeError) as error:  # safetensors looks the type up among numpy's
        raise UserError(f"the state dict '{path}' has a type that numpy has not: {error}") from error
    except (OSError, archive.Unreadable, SafetensorError) as error:
        raise UserError(f"cannot read the state dict '{path}': {error}") from error


def _expected(name: str, num_classes: int) -> dict[str, _Entry]:
    """Returns the entries of the state dict of a network."""
    network = models.create(name, num_classes)
    variables = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    return {
        _key(path): _Entry(path, tuple(leaf.shape[axis] for axis in _TO_TORCH[leaf.ndim]))
        for path, leaf in flatten_dict(variables).items()
    }


def _is_float(value: np.ndarray) -> bool:
    return jnp.issubdtype(value.dtype, jnp.floating) and value.dtype.itemsize >= 2


def _faulty_values(key: str, value: np.ndarray) -> list[str]:
    """What in an array cannot be of a network that was trained."""
    faults = []
    if bad := np.count_nonzero(~np.isfinite(value)):
        faults.append(f"{key} has {bad:,} of {value.size:,} values that are not finite")
    if key.endswith(_LEAVES["var"]) and (value < 0).any():
        faults.append(f"{key} has a variance of {value.min():g}")
    return faults


def _key(path: tuple[str, ...]) -> str:
    _, *modules, leaf = path  # the first is the collection
    return ".".join([*modules, ""]).replace("_", ".") + _LEAVES[leaf]


def _first(found: list[str], count: int = 4) -> str:
    return ", ".join(found[:count]) + (", ..." if len(found) > count else "")
