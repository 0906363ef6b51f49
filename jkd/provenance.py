"""What produced a run: command, machine, versions, commit, and the contents of what it read."""

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

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def session() -> dict[str, Any]:
    """Describes this process: its time, command, machine, versions and devices."""
    devices = jax.devices()
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join(sys.orig_argv),
        "host": platform.node(),
        "python": platform.python_version(),
        "versions": {"jkd": __version__} | {name: importlib.metadata.version(name) for name in _PACKAGES},
        "commit": _commit(),
        "devices": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
    }


def fingerprint(arrays: PyTree) -> str:
    """Returns twelve hexadecimal digits that stand for the contents of a pytree of arrays."""
    hashed = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        array = np.ascontiguousarray(leaf)
        hashed.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}".encode())
        hashed.update(array.data)
    return hashed.hexdigest()[:12]


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
