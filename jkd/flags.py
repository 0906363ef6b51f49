"""Command-line flags from annotations: one place for a setting's name, type, default, range and meaning.

A setting is a keyword argument of a method, or a field of a configuration dataclass, annotated
`Annotated[type, Flag("one line of meaning")]`.
"""

import argparse
import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable
from typing import Any, NoReturn

from jkd.errors import UserError, nearest


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
                f"{_flag(name)}={value}: it must be one of {there}{nearest(str(value), self.choices)}"
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
                raise UserError(f"{_flag(name)}={value}: it must be {words}")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One annotated setting: its name, type, default and Flag."""

    name: str
    type: Any
    default: Any
    flag: Flag


def settings(owner: Callable[..., Any]) -> list[Setting]:
    """Returns the annotated settings of a function's keyword arguments or of a dataclass, in order."""
    hints = typing.get_type_hints(owner, include_extras=True)
    found = []
    for name, parameter in inspect.signature(owner).parameters.items():
        kind, *extras = typing.get_args(hints[name])
        (flag,) = (extra for extra in extras if isinstance(extra, Flag))
        found.append(Setting(name, kind, parameter.default, flag))
    return found


def check(owner: Callable[..., Any], values: dict[str, Any]) -> None:
    """Checks `values` against the ranges and choices of the settings of `owner`.

    Raises:
        UserError: for an unknown name, a value out of range or one that is no choice.
    """
    known = {setting.name: setting for setting in settings(owner)}
    for name, value in values.items():
        if name not in known:
            raise UserError(f"unknown setting '{name}'{nearest(name, known)}")
        known[name].flag.check(name, value)


class Parser(argparse.ArgumentParser):
    """An argument parser that tells a mistake in one line, with the nearest flag that exists."""

    def __init__(self, prog: str, description: str):
        super().__init__(
            prog=prog, description=description, allow_abbrev=False, formatter_class=_Help, add_help=False
        )
        self.add_argument_group("help").add_argument("--help", "-h", action="help", help="show this and exit")

    def error(self, message: str) -> NoReturn:
        """Raises UserError instead of printing the usage."""
        raise UserError(message.removeprefix("argument "))

    def add_settings(
        self, title: str, owner: Callable[..., Any], *, without: tuple[str, ...] = (), prefix: str = ""
    ) -> None:
        """Adds a flag for each setting of `owner`, under `title` or the heading its Flag names.

        Args:
            title: The heading.
            owner: Whose settings.
            without: Names of settings that get no flag.
            prefix: Gives flags --PREFIX.NAME, of which `parse` returns those that were set.
        """
        groups: dict[str, argparse._ArgumentGroup] = {}
        for setting in settings(owner):
            if setting.name in without:
                continue
            heading = setting.flag.group or title
            if prefix and setting.flag.group:
                heading = f"{title}: {setting.flag.group}"
            if heading not in groups:
                groups[heading] = self.add_argument_group(heading)
            _add(groups[heading], setting, f"{prefix}." if prefix else "")

    def parse(self, arguments: list[str]) -> dict[str, Any]:
        """Returns {name: value} of all flags.

        Raises:
            UserError: for an unknown flag (with the nearest name) or a value of the wrong type.
        """
        values, unknown = self.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].split("=")[0]
            options = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
            raise UserError(f"unknown flag {flag}{nearest(flag, options)}; --help lists them")
        return vars(values)


class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34, width=110)

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        return f"usage: {self._prog} [--flag=value ...]\n\n"


def _add(group: argparse._ArgumentGroup, setting: Setting, prefix: str = "") -> None:
    kind, flag = setting.type, setting.flag
    if isinstance(kind, types.UnionType):
        (kind,) = (option for option in typing.get_args(kind) if option is not types.NoneType)
    shown = flag.default if setting.default is None else _show(setting.default)
    name = _flag(prefix + setting.name)
    default = argparse.SUPPRESS if prefix else setting.default
    common: dict[str, Any] = {"default": default, "dest": prefix + setting.name}
    meaning = f"{flag.meaning}: {', '.join(flag.choices)}" if flag.choices else flag.meaning
    help_text = f"{meaning} (default: {shown})".replace("%", "%%")
    if kind is bool:
        group.add_argument(name, action=argparse.BooleanOptionalAction, help=help_text, **common)
    elif typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        metavar = {int: "N,N,...", str: "A,B,..."}[element]
        group.add_argument(name, type=_list_of(element), metavar=metavar, help=help_text, **common)
    else:
        kind = str if flag.choices else kind
        metavar = {int: "N", float: "X", str: "TEXT"}[kind]
        group.add_argument(name, type=kind, metavar=metavar, help=help_text, **common)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _list_of(element: type) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(element(part.strip()) for part in text.split(",") if part.strip())

    parse.__name__ = f"list of {element.__name__}"  # as argparse names it in a mistake
    return parse


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
