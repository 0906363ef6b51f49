"""What produced a run: command, machine, versions, commit, and the contents of what it read."""

import functools
import hashlib
import importlib.metadata
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jkd import __version__
from jkd.machine import hosts

JKD = Path(__file__).resolve().parent
"""Where jkd's own source lies."""
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_BLOCK = 32 * 1024


def session() -> dict[str, Any]:
    """Describes this process: its time, command, machine, versions and devices."""
    devices = jax.devices()
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": _command(),
        "host": platform.node(),
        "python": platform.python_version(),
        "versions": {"jkd": __version__} | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "commit": _commit(),
        "code": jkd_code(),
        "devices": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
        "processes": jax.process_count(),
    }


def _command() -> str:
    """Returns what was typed; that of a notebook's kernel nobody typed, and it works only once."""
    kernel = any("ipykernel" in argument for argument in sys.orig_argv)
    return "a notebook's cell" if kernel else shlex.join(sys.orig_argv)


def fingerprint(arrays: PyTree) -> str:
    """Returns twelve hexadecimal digits that stand for the contents of a pytree of arrays.

    What is no array but has `pieces()`, with shape and type, is the array that these make one after another.
    """
    hashed = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        in_pieces = hasattr(leaf, "pieces")
        array = leaf if in_pieces else np.ascontiguousarray(leaf)
        hashed.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        for piece in leaf.pieces() if in_pieces else (array,):
            hashed.update(np.ascontiguousarray(piece).data)
    return hashed.hexdigest()[:12]


@functools.cache
def jkd_code() -> str:
    """Returns eight hexadecimal digits that stand for jkd's source but what only reads runs or prints."""
    sources = sorted(JKD.rglob("*.py"))
    decides = [path for path in sources if path.relative_to(JKD).parts[0] not in ("report", "experiments")]
    return digest({str(path.relative_to(JKD)): path.read_bytes() for path in decides})


def digest(contents: dict[str, bytes]) -> str:
    """Returns eight hexadecimal digits that stand for contents and their names."""
    hashed = hashlib.sha256()
    for name, content in sorted(contents.items()):
        hashed.update(f"{name} {len(content)} ".encode())
        hashed.update(content)
    return hashed.hexdigest()[:8]


def checksum(arrays: PyTree) -> str:
    """Returns digits that stand for names, types, shapes and contents of arrays, at memory's speed.

    Hashing every byte would take a tenth of the time of saving it. This is the SHA-256 of the sums of each
    array's blocks of 32 KiB, as words of 64 bits: it finds what befalls a disk, and proves nothing against a
    forger. A named tuple and a dictionary of the same names are the same. Of an array that is split over
    processes each sums its own rows: the blocks' sums alone are exchanged.
    """
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): jax.random.key_data(leaf)
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        else leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)
    }
    hashed = hashlib.sha256()
    for name, leaf in sorted(leaves.items()):
        hashed.update(f"{name} {leaf.dtype}{list(leaf.shape)}".encode())
        if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
            sums, rest = (hosts.summed(part) for part in _sums(_own_rows(leaf)))
        else:
            sums, rest = _sums(np.ascontiguousarray(leaf))
        hashed.update(sums.data)
        hashed.update(rest.data)
    return hashed.hexdigest()


def _sums(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the sums of an array's blocks, and the bytes after the last of them."""
    content = array.reshape(-1).view(np.uint8)
    whole = content.size - content.size % _BLOCK
    return content[:whole].view(np.uint64).reshape(-1, _BLOCK // 8).sum(1), content[whole:]


def _own_rows(array: jax.Array) -> np.ndarray:
    """Returns an array with what this process has of it, and zeros: no two processes have the same byte."""
    own = np.zeros(array.shape, array.dtype)
    for shard in array.addressable_shards:
        if shard.replica_id == 0:
            own[shard.index] = shard.data
    return own


def _commit() -> str | None:
    """The commit of jkd's source, with `+dirty` where files differ; None outside a git checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git(
            "ls-files", "--error-unmatch", Path(__file__).name
        )  # an installed copy may lie inside another's checkout
        return git("describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+dirty")
    except (OSError, subprocess.CalledProcessError):
        return None
