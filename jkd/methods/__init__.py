"""The methods by name. A new one is one file and one line here."""

from collections.abc import Callable
from typing import Any

from jkd.errors import UserError, nearest
from jkd.flags import check
from jkd.methods.aekd import aekd
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


def create(name: str, **hyperparameters: Any) -> Method:
    """Returns the method `name` with its hyperparameters.

    Raises:
        UserError: for an unknown method or hyperparameter, or a value out of its range.
    """
    if name not in METHODS:
        raise UserError(f"unknown method '{name}'{nearest(name, METHODS)}; there are {', '.join(METHODS)}")
    check(METHODS[name], hyperparameters)
    return METHODS[name](**hyperparameters)


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
]
