"""PyTorch state dicts of the published networks to variables of ours, and back, without PyTorch."""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import ArrayLike

from jkd.errors import UserError
from jkd.interop import names
from jkd.interop.fit import faulty_values, first, fit, whose

# What wrappers put before the names: data parallelism, torch.compile, and classes that hold the network.
_WRAPPED = re.compile(r"^(?:(?:module|_orig_mod|model|backbone|net)\.)+")
_LEARNER = "student."  # mdistiller saves all that trains, with the network, a teacher's too, under this


def from_state_dict(name: str, entries: Mapping[str, ArrayLike]) -> dict[str, Any]:
    """Returns the variables of the network `name` that a PyTorch state dict holds.

    Args:
        name: one of `jkd.models.names()`.
        entries: the state dict. The classifier's shape gives the number of classes. What wrappers put before
            the names ("module.", "model.", "backbone.", ...) is dropped; of mdistiller's checkpoints of a
            whole training, "student." is taken. "num_batches_tracked" is ignored.

    Returns:
        `{"params": ..., "batch_stats": ...}` in float32, for `jkd.models.create(name, classes)`.

    Raises:
        UserError: entries are missing, unexpected, wrongly shaped, not floating-point or not finite, a
            variance is negative, or there is no network of that name.
    """
    given = _plainly_named(entries)
    found = fit(name, given)
    if any(found.faults.values()):
        raise UserError(f"not a state dict of {name}{whose(name, given, found)}: {found}")
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite then, and told below
        values = {key: given[key].astype(np.float32) for key in found.expected}
    if untrained := [fault for key, value in values.items() for fault in faulty_values(key, value)]:
        raise UserError(f"the weights are no trained {name}: {first(untrained)}")
    return unflatten_dict(
        {
            path: jnp.asarray(values[key].transpose(np.argsort(names.to_torch(len(shape)))))
            for key, (path, shape) in found.expected.items()
        }
    )


def to_state_dict(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the variables of a network of `jkd.models` as a PyTorch state dict.

    PyTorch loads it strictly into the published network ("num_batches_tracked" is not needed for that).
    """
    return {
        # safetensors writes the memory as it lies, so it must lie in order.
        names.key(path): np.ascontiguousarray(np.asarray(leaf).transpose(names.to_torch(leaf.ndim)))
        for path, leaf in flatten_dict(variables).items()
    }


def _plainly_named(entries: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Returns the entries by the names that the network itself gives them."""
    kept = {key: value for key, value in entries.items() if not key.endswith("num_batches_tracked")}
    plain = {key: _WRAPPED.sub("", key) for key in kept}
    if any(name.startswith(_LEARNER) for name in plain.values()):
        plain = {
            key: _WRAPPED.sub("", name.removeprefix(_LEARNER))
            for key, name in plain.items()
            if name.startswith(_LEARNER)
        }
    given: dict[str, np.ndarray] = {}
    for key, name in plain.items():
        if name in given:
            raise UserError(f"the state dict has two entries for {first([name])}, one of them {first([key])}")
        given[name] = np.asarray(kept[key])
    return given
