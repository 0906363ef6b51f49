"""Recipes: the flags that repeat a published table, with the published numbers, as a small file.

```toml
[flags]                       # of `python -m jkd.experiments.compare`, with _ for -
teachers = ["vgg13", "vgg13", "vgg13"]
epochs = 240
methods = ["bomd", "flat=bomd"]
flat = { bilevel = false }    # --no-flat.bilevel

[published]                   # by row: top-1 in percent, and where it is reported
scratch = { top1 = 70.36, epoch = "last", seeds = 3, source = "..." }
demkd = { top1 = 75.25, source = "..." } # which says neither the epoch nor the seeds

[settings.experts]            # --recipe=NAME:experts: the flags above with these in their place
teachers = ["resnet20:classes=0-6", "resnet20:classes=7-13"]
```
"""

import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import jkd
from jkd import methods, models
from jkd.errors import UserError, nearest
from jkd.report.table import Published

_NO_SETTINGS = ("help", "recipe", "import")
_FOLDER = Path(jkd.__file__).parent.parent / "experiments"


class Recipe(NamedTuple):
    """The command line that a recipe stands for, and the published numbers by method."""

    arguments: tuple[str, ...]
    published: dict[str, Published]


def load(given: str) -> Recipe:
    """Reads a recipe: a path, or the name of one in the repository's `experiments/`; `:SETTING` behind it.

    Raises:
        UserError: there is none, it cannot be read, has settings of which none or an unknown one is named, or
            needs a network or method that jkd has not got.
    """
    name_or_path, _, setting = given.partition(":")
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = _FOLDER / f"{name_or_path}.toml"
    if not path.is_file():
        there = sorted(p.stem for p in _FOLDER.glob("*.toml"))
        raise UserError(
            f"--recipe={name_or_path}: there is none{nearest(name_or_path, there)}; "
            f"give the path of a .toml file{f' or one of {chr(44).join(there)}' if there else ''}"
        )
    try:
        content = tomllib.loads(path.read_text())
        if "flags" not in content:
            raise ValueError("it has no table [flags]")
        flags = _with_setting(path, content["flags"], content.get("settings", {}), setting)
        arguments = _arguments(path, flags)
        published = {
            method: _published(path, method, entry) for method, entry in content.get("published", {}).items()
        }
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"--recipe={path}: it is no recipe ({_why(error)}); see {_FOLDER}") from None
    _check_there(path, flags)
    return Recipe(arguments, published)


def _why(error: Exception) -> str:
    return f"an entry lacks '{error.args[0]}'" if isinstance(error, KeyError) else str(error)


def _with_setting(path: Path, flags: Any, settings: dict[str, Any], setting: str) -> Any:
    if not setting and not settings:
        return flags
    if setting in settings:
        return flags | settings[setting]
    name = path.stem if path.parent == _FOLDER else path
    if not settings:
        raise UserError(f"--recipe={name}:{setting}: it has no settings; give --recipe={name}")
    told = f"there is no setting '{setting}'{nearest(setting, settings)}" if setting else "it has settings"
    raise UserError(f"--recipe={name}: {told}; give one as --recipe={name}:SETTING, of {', '.join(settings)}")


def _published(path: Path, method: str, entry: dict[str, Any]) -> Published:
    epoch, seeds = entry.get("epoch", "unknown"), entry.get("seeds")
    if epoch not in ("last", "best", "unknown"):
        raise UserError(f"--recipe={path}: published {method}: epoch = {epoch!r} must be 'last' or 'best'")
    if seeds is not None and (not isinstance(seeds, int) or seeds < 1):
        raise UserError(
            f"--recipe={path}: published {method}: seeds = {seeds!r} must be a whole number from 1"
        )
    return Published(float(entry["top1"]), str(entry["source"]), epoch, seeds)


def _check_there(path: Path, flags: dict[str, Any]) -> None:
    """A recipe may come before the network or the method that it needs."""
    for kind, flag, there in (
        ("network", "teachers", models.names()),
        ("network", "student", models.names()),
        ("method", "methods", tuple(methods.METHODS)),
    ):
        value = flags.get(flag, [])
        named = value if isinstance(value, list) else [value]
        if not all(isinstance(name, str) for name in named):
            raise UserError(f"--recipe={path}: {flag} = {value!r} must name {kind}s")
        named = [name.rpartition("=")[2] if kind == "method" else re.split("[@:]", name)[0] for name in named]
        for name in (name for name in named if name not in there):
            raise UserError(
                f"--recipe={path.stem} needs the {kind} '{name}', which does not exist in jkd yet"
                f"{nearest(name, there)}"
            )


def _arguments(path: Path, flags: Any, prefix: str = "") -> tuple[str, ...]:
    """Returns the command line; a table within that of the flags holds those of a method."""
    if not isinstance(flags, dict):
        raise UserError(f"--recipe={path}: flags = {flags!r} must be a table, [flags]")
    found: list[str] = []
    for name, value in flags.items():
        flag = prefix + name.replace("_", "-")
        if name in _NO_SETTINGS:
            raise UserError(f"--recipe={path}: '{name}' is no setting; give --{name} on the command line")
        if isinstance(value, dict) and not prefix:
            found += _arguments(path, value, f"{flag}.")
        elif isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
            found.append(f"--{flag}={','.join(map(str, value))}")
        elif isinstance(value, str | int | float):
            found.append(f"--{flag}={value}")
        else:
            raise UserError(f"--recipe={path}: {prefix}{name} = {value!r} is no value of a flag")
    return tuple(found)
