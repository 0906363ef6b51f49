"""Data sets of the user's own, by name."""

import dataclasses
import re
from collections.abc import Callable

from jkd.data.sources.arrays import Data
from jkd.errors import UserError

_own: dict[str, Callable[[], Data]] = {}


def register(name: str, make: Callable[[], Data]) -> None:
    """Gives a data set of your own a name, which `data.load` and `--dataset=` then take.

    A name of tensorflow-datasets may be taken: it then means your data set.

    Args:
        name: Letters, digits, `_`, `-` and `.`.
        make: Returns the data set. It is called when a data set of that name is loaded, each time, and not
            before.

    Raises:
        UserError: The name has other characters, is `digits`, or is that of a data set that another function
            makes.
    """
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.-]*", name):
        raise UserError(
            f"a data set cannot be named {name!r}; a name is of letters, digits, '_', '-' and '.'"
        )
    if not callable(make):
        raise UserError(
            f"data set '{name}' is registered with a {type(make).__name__}; "
            "it must be a function without arguments that returns a Data"
        )
    if name == "digits" or (name in _own and not _is_same(_own[name], make)):
        raise UserError(f"there is a data set '{name}' already; choose another name")
    _own[name] = make


def names() -> tuple[str, ...]:
    """Returns the names of the data sets that need no download: `digits` and the registered ones."""
    return ("digits", *sorted(_own))


def is_registered(name: str) -> bool:
    """Whether the name is that of a registered data set."""
    return name in _own


def create(name: str) -> Data:
    """Makes a registered data set, under its registered name.

    Raises:
        UserError: Its function returns something else.
    """
    data = _own[name]()
    if not isinstance(data, Data):
        raise UserError(
            f"data set '{name}': its function returns a {type(data).__name__}; it must return a Data"
        )
    return dataclasses.replace(data, name=name)


def _is_same(one: Callable[[], Data], other: Callable[[], Data]) -> bool:
    """Whether both are one function, perhaps defined again: a cell of a notebook run twice, say."""
    if one is other:
        return True
    places = [
        (getattr(make, "__module__", None), getattr(make, "__qualname__", "<")) for make in (one, other)
    ]
    return places[0] == places[1] and "<" not in places[0][1]  # all lambdas share their name
