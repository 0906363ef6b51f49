"""A command line made of settings: a flag for each, its help and its mistakes."""

import argparse
import typing
from collections.abc import Callable
from typing import Any, NoReturn

import jkd
from jkd.errors import UserError, nearest
from jkd.flags import Setting, flag_name, settings

VERSION = f"jkd {jkd.__version__}"


class Parser(argparse.ArgumentParser):
    """An argument parser that tells a mistake in one line, with the nearest flag that exists."""

    def __init__(self, prog: str, description: str):
        super().__init__(
            prog=prog, description=description, allow_abbrev=False, formatter_class=_Format, add_help=False
        )
        self.added: list[tuple[argparse.Action, Setting]] = []
        self.rare: list[argparse.Action] = []  # which --help leaves to --help-all
        about = self.add_argument_group("help")
        about.add_argument("--help", "-h", action=_Help, help="show the flags that most uses need, and exit")
        about.add_argument("--help-all", action="help", help="show all flags and exit")
        about.add_argument("--version", action="version", version=VERSION, help="show jkd's version and exit")

    def error(self, message: str) -> NoReturn:
        """Raises UserError instead of printing the usage."""
        raise UserError(message.removeprefix("argument "))

    def add_settings(
        self,
        title: str,
        owner: Callable[..., Any],
        *,
        without: tuple[str, ...] = (),
        prefix: str = "",
        usual: tuple[str, ...] | None = None,
    ) -> None:
        """Adds a flag for each setting of `owner`, under `title` or the heading its Flag names.

        Args:
            title: The heading.
            owner: Whose settings.
            without: Names of settings that get no flag.
            prefix: Gives flags --PREFIX.NAME, of which `parse` returns those that were set.
            usual: Names of those that --help shows, where that is not all of them.
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
            action = _add(groups[heading], setting, f"{prefix}." if prefix else "")
            self.added.append((action, setting))
            if usual is not None and setting.name not in usual:
                self.rare.append(action)

    def parse(self, arguments: list[str]) -> dict[str, Any]:
        """Returns {name: value} of all flags.

        Raises:
            UserError: for an unknown flag (with the nearest name) or a value of the wrong type.
        """
        values, unknown = self.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].split("=")[0]
            if not flag.startswith("-"):
                raise UserError(f"'{flag}' is no flag, and stands where none of the other arguments does")
            options = [o for action in self._actions for o in action.option_strings if o.startswith("--")]
            raise UserError(f"unknown flag {flag}{nearest(flag, options)}; --help-all lists them")
        return vars(values)


class _Format(argparse.HelpFormatter):
    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=34, width=110)

    def _format_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any) -> str:
        named = [f"{a.metavar} ..." if a.nargs == "+" else a.metavar for a in actions if not a.option_strings]
        return f"usage: {' '.join([self._prog, *named])} [--flag=value ...]\n\n"


class _Help(argparse.Action):
    def __init__(self, option_strings: Any, dest: str, help: str):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        for action in parser.rare:
            action.help = argparse.SUPPRESS
        parser.print_help()
        if parser.rare:
            print(f"\n--help-all shows {len(parser.rare)} more.")
        parser.exit()


def _add(group: argparse._ArgumentGroup, setting: Setting, prefix: str = "") -> argparse.Action:
    kind, flag = setting.type, setting.flag
    shown = flag.default if setting.default is None else _show(setting.default)
    name = flag_name(prefix + setting.name)
    default = argparse.SUPPRESS if prefix else setting.default
    common: dict[str, Any] = {"default": default, "dest": prefix + setting.name}
    meaning = f"{flag.meaning}: {', '.join(flag.choices)}" if flag.choices else flag.meaning
    help_text = f"{meaning} (default: {shown})".lstrip().replace("%", "%%")
    if kind is bool:
        return group.add_argument(name, action=argparse.BooleanOptionalAction, help=help_text, **common)
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        metavar = {int: "N,N,...", float: "X,X,...", str: "A,B,..."}[element]
        return group.add_argument(name, type=_list_of(element), metavar=metavar, help=help_text, **common)
    kind = str if flag.choices else kind
    metavar = {int: "N", float: "X", str: "TEXT"}[kind]
    return group.add_argument(name, type=kind, metavar=metavar, help=help_text, **common)


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
