"""The methods by name. A new one of jkd's is one file and one line here; anyone else's is `register`ed.

An installed package brings methods under the entry point group `jkd.methods`: `name = "module:function"`.
"""

import importlib.metadata
from collections.abc import Callable
from typing import Any

from jkd.errors import UserError, nearest
from jkd.flags import resolve
from jkd.methods.aekd import aekd
from jkd.methods.amal import amal
from jkd.methods.amtmlkd import amtmlkd
from jkd.methods.aver import aver
from jkd.methods.base import Batch, Loss, Memory, Method, TeacherOutputs, UpperLevel, Variables
from jkd.methods.bomd import bomd
from jkd.methods.camkd import camkd
from jkd.methods.demkd import demkd
from jkd.methods.distill import distill
from jkd.methods.ebkd import ebkd
from jkd.methods.fitnet import fitnet
from jkd.methods.gpac import gpac
from jkd.methods.mkcd import mkcd
from jkd.methods.mmkd import mmkd
from jkd.methods.scratch import scratch

METHODS: dict[str, Callable[..., Method]] = {
    "aekd": aekd,
    "amal": amal,
    "amtmlkd": amtmlkd,
    "aver": aver,
    "bomd": bomd,
    "camkd": camkd,
    "demkd": demkd,
    "distill": distill,
    "ebkd": ebkd,
    "fitnet": fitnet,
    "gpac": gpac,
    "mkcd": mkcd,
    "mmkd": mmkd,
    "scratch": scratch,
}


_OWN = frozenset(METHODS)
ENTRY_POINTS = "jkd.methods"


def register(name: str, method: Callable[..., Method]) -> None:
    """Makes a method known under a name: to `jkd.distil`, to `compare` and to command lines.

    Registering a name again replaces what it stood for, as running a notebook's cell again does.

    Args:
        name: Its name.
        method: A function of keyword arguments, each with a default, that returns a `Method`.

    Raises:
        UserError: The name is one of jkd's own methods.
    """
    if name in _OWN and METHODS[name] is not method:
        raise UserError(f"there is a method '{name}' in jkd already: give yours another name")
    METHODS[name] = method


def find(name: str) -> Callable[..., Method]:
    """Returns the function that makes the method `name`: jkd's, a registered one or an installed package's.

    Raises:
        UserError: There is none, or its package cannot be imported.
    """
    if name not in METHODS:
        points = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
        if name not in points:
            there = [*METHODS, *points]
            raise UserError(
                f"unknown method '{name}'{nearest(name, there)}; there are {', '.join(there)}; "
                "--import=FILE.py brings your own"
            )
        try:
            METHODS[name] = points[name].load()
        except Exception as error:
            raise UserError(f"method '{name}': {points[name].value} cannot be loaded ({error!r})") from error
    return METHODS[name]


def create(name: str, **hyperparameters: Any) -> Method:
    """Returns the method `name` with its hyperparameters.

    Raises:
        UserError: for an unknown method or hyperparameter, or a value out of its range.
    """
    function = find(name)
    return function(**resolve(function, hyperparameters))


__all__ = [
    "METHODS",
    "Batch",
    "Loss",
    "Memory",
    "Method",
    "TeacherOutputs",
    "UpperLevel",
    "Variables",
    "create",
    "find",
    "register",
]
