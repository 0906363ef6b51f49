"""What produced a run: command, machine, versions, commit, and the contents of what it read."""

import ast
import functools
import hashlib
import importlib.metadata
import inspect
import platform
import re
import shlex
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jkd import __version__

_JKD = Path(__file__).resolve().parent
_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
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
        "code": jkd_code(),
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


@functools.cache
def jkd_code() -> str:
    """Returns eight hexadecimal digits that stand for jkd's source but what only reads runs or prints."""
    sources = sorted(_JKD.rglob("*.py"))
    decides = [path for path in sources if path.relative_to(_JKD).parts[0] not in ("report", "experiments")]
    return _digest({str(path.relative_to(_JKD)): path.read_bytes() for path in decides})


def own_code(*things: Any) -> str | None:
    """Returns eight hexadecimal digits that stand for the source of what is not jkd's, wherever it lies.

    That is the module that defines a function or class, and what it imports from its own folder or package;
    of what was typed into a notebook, the function or class itself.

    Args:
        things: Functions, classes or objects of these.

    Returns:
        The digits, or None where all is jkd's own.
    """
    sources: dict[str, bytes] = {}
    for thing in things:
        given = []
        while isinstance(thing, functools.partial):
            given.append(plainly((thing.args, sorted(thing.keywords.items()))))
            thing = thing.func
        defined = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
        module = sys.modules.get(defined.__module__)
        path = _source_file(module)
        if path is None:
            sources[str(len(sources))] = _typed_source(defined)
        elif not path.is_relative_to(_JKD):
            _collect(module, path.parent, sources)
        else:
            continue
        sources[str(len(sources))] = repr(given).encode()
    return _digest(sources) if sources else None


def _typed_source(defined: Any) -> bytes:
    """Returns the source of a function or class that is in no file, such as a notebook's."""
    try:
        return inspect.getsource(defined).encode()
    except (OSError, TypeError):  # typed at a prompt that keeps nothing
        code = getattr(defined, "__code__", None)
        return repr((code.co_code, code.co_consts) if code else defined.__qualname__).encode()


def plainly(thing: Any) -> str:
    """Returns how an object shows itself, without where in memory it and its parts lie."""
    return re.sub(r"\s+", " ", re.sub(r" at 0x[0-9a-f]+", "", repr(thing)))


def _collect(module: Any, root: Path, sources: dict[str, bytes]) -> None:
    """Adds the source of a module, and of those under `root` that it imports."""
    path = _source_file(module)
    if path is None or not _is_own(path, root) or (content := path.read_bytes()) in sources.values():
        return
    # By its number, not its name: a copy under another path is the same code.
    sources[str(len(sources))] = content
    for name in _imports(content, getattr(module, "__package__", None) or ""):
        if name in sys.modules:
            _collect(sys.modules[name], root, sources)


def _imports(source: bytes, package: str) -> list[str]:
    """Returns the names of modules that a source may import."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package.rsplit(".", node.level - 1)[0] if node.level else ""
            name = ".".join(filter(None, (start, node.module)))
            found += [name, *(f"{name}.{alias.name}" for alias in node.names)]
    return found


def _is_own(path: Path, root: Path) -> bool:
    installed = path.is_relative_to(root) and {"site-packages", "dist-packages"} & {
        *path.relative_to(root).parts
    }
    return path.is_relative_to(root) and not installed and not any(map(path.is_relative_to, (_JKD, _STDLIB)))


def _source_file(module: Any) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file and Path(file).is_file() else None


def _digest(contents: dict[str, bytes]) -> str:
    hashed = hashlib.sha256()
    for name, content in sorted(contents.items()):
        hashed.update(f"{name} {len(content)} ".encode())
        hashed.update(content)
    return hashed.hexdigest()[:8]


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
