"""The source of methods, networks and teachers that are not jkd's: edited, it makes another run."""

import ast
import dataclasses
import dis
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import jax
import jax.export
import numpy as np

from jkd.provenance import JKD, digest, fingerprint

_STDLIB = Path(sysconfig.get_path("stdlib")).resolve()
_INSTALLED = {"site-packages", "dist-packages"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes)


def own_code(*things: Any) -> str | None:
    """Returns eight hexadecimal digits that stand for the source of what is not jkd's, wherever it lies.

    That is the module that defines a function or class, and what it imports from its own folder or package;
    of what was typed into a notebook, the function or class itself, and those it calls. With it go the values
    that functions hold or find in their module: numbers, words, arrays, networks, exported programs.

    Args:
        things: Functions, classes or objects of these.

    Returns:
        The digits, or None where all is jkd's own.
    """
    found = _Found()
    for thing in things:
        found.add(thing)
    return digest(found.sources) if found.sources else None


def plainly(thing: Any) -> str:
    """Returns how an object shows itself, without where in memory it and its parts lie."""
    return re.sub(r"\s+", " ", re.sub(r" at 0x[0-9a-f]+", "", repr(thing)))


class _Found:
    """Sources, by number and not by name: a copy under another path is the same code."""

    def __init__(self) -> None:
        self.sources: dict[str, bytes] = {}
        self._seen: dict[int, Any] = {}  # kept, so that no other object gets the address of one

    def add(self, thing: Any) -> None:
        """Adds the source of a thing and what it holds, unless it is jkd's."""
        given = []
        while isinstance(thing, partial):
            given.append(plainly(self._told((thing.args, sorted(thing.keywords.items())))))
            thing = thing.func
        if inspect.ismethod(thing):  # of an object; its class may have it from a library
            given.append(thing.__name__)
            thing = thing.__self__
        defined = thing if inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
        path = _source_file(_module(defined))
        if path is not None and path.is_relative_to(JKD):
            return
        if path is not None:
            self._collect(path, _package(_module(defined)), _root(_module(defined), path))
        if defined is not thing:
            given.append(plainly(self._told(thing)))
        given += [plainly(held) for held in self._held(defined)]
        self._put(repr(given).encode())

    def _put(self, content: bytes) -> None:
        self.sources[str(len(self.sources))] = content

    def _told(self, value: Any) -> Any:
        """Returns what stands for a value: itself, or its parts, without addresses and paths."""
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            return fingerprint(value)
        if id(value) in self._seen:
            return "again"
        self._seen[id(value)] = value
        if isinstance(value, jax.export.Exported):
            return digest({value.fun_name: value.mlir_module_serialized})
        if isinstance(value, dict):
            return [(self._told(key), self._told(one)) for key, one in value.items()]
        if isinstance(value, tuple | list):
            return [self._told(one) for one in value]
        if isinstance(value, set | frozenset):
            return sorted(plainly(self._told(one)) for one in value)
        if isinstance(value, partial):
            return [self._told(part) for part in (value.func, value.args, value.keywords)]
        if inspect.ismethod(value):
            return [self._told(value.__self__), self._told(value.__func__)]
        if inspect.isclass(value) or inspect.isroutine(value):
            return [value.__qualname__, *self._held(value)] if self._is_own(value) else value.__qualname__
        told = [self._told(type(value))]
        if dataclasses.is_dataclass(value):
            told += [self._told(getattr(value, field.name, None)) for field in dataclasses.fields(value)]
        elif self._is_own(type(value)):
            told.append(self._told(getattr(value, "__dict__", None)))
        return told

    def _is_own(self, defined: Any) -> bool:
        """Whether a function or class is neither jkd's nor of a library; then its source is added."""
        module = _module(defined)
        path = _source_file(module)
        if path is None:
            return module is None or not hasattr(module, "__spec__") or module.__spec__ is None
        if path.is_relative_to(JKD) or _is_standard(path) or _INSTALLED & {*path.parts}:
            return False
        self._collect(path, _package(module), _root(module, path))
        return True

    def _held(self, defined: Any) -> Iterator[Any]:
        """Yields what stands for the values that functions hold or find, and for what was typed."""
        typed = _source_file(_module(defined)) is None
        parts = {"": defined}
        if inspect.isclass(defined):
            parts = {name: getattr(part, "fget", part) for name, part in vars(defined).items()}
        for place, part in parts.items():
            function = inspect.unwrap(part)
            if typed and isinstance(part, _PLAIN) and not place.startswith("__"):
                yield place, part
            if not isinstance(function, FunctionType) or function.__module__ != defined.__module__:
                continue  # a library put it into the class
            if function.__code__.co_filename == "<string>":
                continue  # dataclasses did
            if typed:
                yield _typed_source(function)
            for name, value in _held_by(function):
                if (told := self._told(value)) not in ("again", []):
                    yield name, told

    def _collect(self, path: Path, package: str, root: Path) -> None:
        """Adds a file, and those under `root` that it imports."""
        if not _is_own(path, root) or (content := path.read_bytes()) in self.sources.values():
            return
        self._put(content)
        for name in _imports(content, package) if path.suffix == ".py" else ():
            module = sys.modules.get(name)
            found = _source_file(module) if module else _file_beside(name, root.parent if package else root)
            if found is not None:
                inner = name if found.name == "__init__.py" else name.rpartition(".")[0]
                self._collect(found, _package(module) if module else inner, root)


def _module(defined: Any) -> Any:
    return sys.modules.get(getattr(defined, "__module__", None) or "")


def _package(module: Any) -> str:
    return getattr(module, "__package__", None) or ""


def _root(module: Any, path: Path) -> Path:
    """Returns the folder of a module's outermost package, or where it is in none its own."""
    depth = len(_package(module).split("."))
    return path.parents[min(depth, len(path.parents)) - 1]


def _file_beside(name: str, folder: Path) -> Path | None:
    """Returns the file of a module that was not imported yet, where it lies beside."""
    place = folder.joinpath(*name.split("."))
    there = (place.with_name(f"{place.name}.py"), place / "__init__.py")
    return next((path.resolve() for path in there if path.is_file()), None)


def _typed_source(function: FunctionType) -> str:
    """Returns the source of a function that is in no file, such as a notebook's."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):  # typed at a prompt that keeps nothing
        codes = _codes(function.__code__)
        return plainly([(one.co_code, one.co_names, _constants(one)) for one in codes])


def _constants(code: CodeType) -> list[Any]:
    return [constant for constant in code.co_consts if not isinstance(constant, CodeType)]


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yields the code of a function and of those within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _globals(code: CodeType) -> Iterator[str]:
    """Yields the names that a function, and those within it, look up in their module."""
    for one in _codes(code):
        for instruction in dis.get_instructions(one):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield instruction.argval


def _held_by(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yields by name the values of a function's defaults and closure, and its module's that it asks for."""
    yield from (("defaults", value) for value in (function.__defaults__, function.__kwdefaults__) if value)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # an empty one
            yield name, cell.cell_contents
    for name in sorted({*_globals(function.__code__)} & {*function.__globals__}):
        if not name.startswith("__") and not inspect.ismodule(function.__globals__[name]):
            yield name, function.__globals__[name]


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
    installed = path.is_relative_to(root) and _INSTALLED & {*path.relative_to(root).parts}
    return path.is_relative_to(root) and not installed and not path.is_relative_to(JKD)


def _is_standard(path: Path) -> bool:
    return path.is_relative_to(_STDLIB) and not _INSTALLED & {*path.relative_to(_STDLIB).parts}


def _source_file(module: Any) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file and Path(file).is_file() else None
