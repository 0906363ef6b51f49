"""Weights written to files: safetensors, and PyTorch's own where PyTorch is installed."""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import PyTree
from safetensors.numpy import save

from jkd.interop.weights_only import pytorch


def named(variables: PyTree) -> dict[str, np.ndarray]:
    """Returns the leaves of variables by their paths, such as "params.Conv_0.kernel"."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.ascontiguousarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(variables)
    }


def unnamed(entries: Mapping[str, np.ndarray], like: PyTree) -> PyTree:
    """Returns variables of the form of `like` from leaves by their paths: undoes `named`."""
    names = named(like)
    return jax.tree.unflatten(jax.tree.structure(like), [entries[name] for name in names])


def save_safetensors(path: Path, entries: Mapping[str, np.ndarray]) -> None:
    """Writes arrays by their names, with the word by which other libraries know what reads them."""
    path.write_bytes(save(dict(entries), {"format": "pt"}))  # save_file's files are for their owner alone


def save_torch(path: Path, entries: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict for `torch.load`.

    Raises:
        UserError: as `pytorch` does.
    """
    torch = pytorch()
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in entries.items()}, path)
