"""Bars that move: a widget in a notebook, a line on a terminal, and nothing elsewhere."""

from typing import Any, TextIO

from tqdm.auto import tqdm
from tqdm.notebook import tqdm as widget


def moving(file: TextIO) -> bool:
    """Returns whether what is written to `file` can be overwritten, or is a notebook's."""
    return file.isatty() or issubclass(tqdm, widget)


def bar(file: TextIO, **given: Any) -> "tqdm[Any]":
    """Returns tqdm's bar on `file`, which shows nothing where it could not move."""
    return tqdm(file=file, disable=not moving(file), **given)
