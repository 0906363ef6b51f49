"""Settings from annotations: one place for a setting's name, type, default, range and meaning.

A setting is a keyword argument of a method, or a field of a configuration dataclass, annotated
`Annotated[type, Flag("one line of meaning")]`; `Annotated[type, "one line of meaning"]` where there is no
range, a plain type, or nothing where the default tells the type. Command lines have a flag for each, and
Python's keyword arguments go through the same checks.
"""

import dataclasses
import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from jkd.errors import UserError, nearest

MAX_SEED = 2**32 - 1  # jax's keys take no more: a greater seed would start like a smaller one


def flag_name(name: str) -> str:
    """Returns the flag of a setting: `--batch-size` for `batch_size`."""
    return "--" + name.replace("_", "-")


@dataclasses.dataclass(frozen=True)
class Flag:
    """The meaning of a setting, the range of a number, and the heading of `--help` it belongs under.

    `default` says in words what a default of None stands for; `tune` are the values that a comparison tries
    with --tune.
    """

    meaning: str
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    group: str | None = None
    default: str | None = None
    choices: tuple[str, ...] = ()
    tune: tuple[float, ...] = ()

    def check(self, name: str, value: Any) -> None:
        """Raises UserError if a value is no choice, or a number is not finite or out of range."""
        if self.choices and value not in self.choices:
            there = ", ".join(self.choices)
            raise UserError(
                f"{flag_name(name)}={value}: it must be one of {there}{nearest(str(value), self.choices)}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        for broken, words in (
            (not math.isfinite(value), "a finite number"),
            (self.above is not None and not value > self.above, f"above {self.above}"),
            (self.at_least is not None and not value >= self.at_least, f"at least {self.at_least}"),
            (self.below is not None and not value < self.below, f"below {self.below}"),
            (self.at_most is not None and not value <= self.at_most, f"at most {self.at_most}"),
        ):
            if broken:
                raise UserError(f"{flag_name(name)}={value}: it must be {words}")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One annotated setting: its name, type, default and Flag."""

    name: str
    kind: "_Kind"
    default: Any
    flag: Flag

    @property
    def type(self) -> Any:
        """bool, int, float, str, or a tuple of one of these: what a command line can give."""
        return self.kind.type

    def value(self, given: Any) -> Any:
        """Returns what Python code gave as the command line would have: 3 for a float is 3.0, a list a tuple.

        Raises:
            UserError: it is of another type, out of range or no choice.
        """
        if given is None and (self.kind.optional or self.default is None):
            return None
        value = _converted(self.kind, given)
        if value is _Wrong:
            shown = " ".join(repr(given).split())  # a network shows itself in many lines
            shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
            raise UserError(f"{flag_name(self.name)}={shown}: it must be {self.kind.words}")
        self.flag.check(self.name, value)
        return value


def settings(owner: Callable[..., Any]) -> list[Setting]:
    """Returns the settings of a function's keyword arguments or of a dataclass, in order.

    Raises:
        UserError: one has neither default nor annotation, or a type that no flag can have.
    """
    hints = typing.get_type_hints(owner, include_extras=True)
    found = []
    for name, parameter in inspect.signature(owner).parameters.items():
        where = f"{getattr(owner, '__name__', owner)}: the setting '{name}'"
        default = parameter.default
        if default is inspect.Parameter.empty:
            raise UserError(f"{where} has no default; give it one")
        hint = hints.get(name, _type_of(default))
        extras: list[Any] = []
        if typing.get_origin(hint) is Annotated:
            hint, *extras = typing.get_args(hint)
        flags = [extra if isinstance(extra, Flag) else Flag(extra) for extra in extras]
        flag = flags[0] if flags else Flag("")
        if typing.get_origin(hint) is Literal and not flag.choices:
            flag = dataclasses.replace(flag, choices=typing.get_args(hint))
        kind = _kind(hint)
        if kind.type is None:
            raise UserError(f"{where} is a {hint}; it can be {kind.words}")
        found.append(Setting(name, kind, default, flag))
    return found


def resolve(owner: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns every setting of `owner` by name: the value given, as the command line would have it, or the
    default.

    Raises:
        UserError: for an unknown name, a value of another type, out of range or one that is no choice.
    """
    known = {setting.name: setting for setting in settings(owner)}
    for name in given:
        if name not in known:
            raise UserError(f"unknown setting '{name}'{nearest(name, known)}")
    return {name: s.value(given[name]) if name in given else s.default for name, s in known.items()}


_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a string"}


class _Wrong:
    """Stands for a value that is not of the type asked for."""


class _Kind(NamedTuple):
    """What an annotation allows: what a command line can give, None, and objects that only Python can."""

    type: Any
    optional: bool = False
    objects: tuple[type, ...] = ()

    @property
    def words(self) -> str:
        """What a value must be, in an error."""
        if typing.get_origin(self.type) is tuple:
            found = f"a list, each {_WORDS[typing.get_args(self.type)[0]]}"
        else:
            found = _WORDS.get(self.type) or f"{', '.join(_WORDS.values())}, or a list of these"
        return " or ".join([found, *(f"a {known.__name__}" for known in self.objects)])


def _kind(hint: Any) -> _Kind:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return _Kind(str)
    if origin in (types.UnionType, typing.Union):
        options = [_kind(option) for option in arguments]
        given = [option.type for option in options if option.type is not None]
        objects = tuple(known for option in options for known in option.objects)
        return _Kind(given[0] if given else None, types.NoneType in arguments, objects)
    if origin is tuple:
        element = _kind(arguments[0])
        return _Kind(
            _list(element.type) if element.type in (int, float, str) else None, objects=element.objects
        )
    if hint in _WORDS:
        return _Kind(hint)
    return _Kind(None, objects=(hint,) if isinstance(hint, type) and hint is not types.NoneType else ())


def _type_of(default: Any) -> Any:
    """Returns the type that a setting without an annotation has."""
    return _list(type(default[0])) if isinstance(default, tuple) and default else type(default)


def _list(element: Any) -> Any:
    return tuple.__class_getitem__((element, ...))


def _converted(kind: _Kind, given: Any) -> Any:
    if typing.get_origin(kind.type) is tuple:
        if isinstance(given, str) or not isinstance(given, Iterable):
            return _Wrong
        element = kind._replace(type=typing.get_args(kind.type)[0])
        values = tuple(_converted(element, one) for one in given)
        return _Wrong if _Wrong in values else values
    if isinstance(given, np.generic):
        given = given.item()
    if kind.type is float and isinstance(given, int) and not isinstance(given, bool):
        return float(given)
    if kind.type is str and isinstance(given, os.PathLike):
        return str(given)
    wrong_bool = isinstance(given, bool) and kind.type is not bool
    return given if isinstance(given, (kind.type, *kind.objects)) and not wrong_bool else _Wrong
