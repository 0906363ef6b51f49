"""The source of methods, networks and teachers that are not jkd's: edited, it makes another run."""

import ast
import functools
import inspect
import re
import sys
import sysconfig
from pathlib import Path
from typing import Any

from jkd.provenance import JKD, digest

_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()


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
        elif not path.is_relative_to(JKD):
            _collect(module, path.parent, sources)
        else:
            continue
        sources[str(len(sources))] = repr(given).encode()
    return digest(sources) if sources else None


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
    return path.is_relative_to(root) and not installed and not any(map(path.is_relative_to, (JKD, _STDLIB)))


def _source_file(module: Any) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file and Path(file).is_file() else None
