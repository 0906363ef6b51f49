"""The page around its sections: one HTML file that asks nothing of anybody."""

import base64
import functools
import html
import importlib.util
import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jkd.errors import UserError
from jkd.machine import files

_HERE = Path(__file__).parent
# A browser refuses whatever would leave the page, so that "no request" need not be believed.
_POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

Plot = Mapping[str, Any]
"""Traces and layout as Plotly takes them; colours are names of the page's own, such as `@0` or `@ink/0.2`."""


class Section(NamedTuple):
    """A heading, HTML under it, and plots by the ids of the elements that they are drawn in."""

    heading: str
    body: str
    plots: Mapping[str, Plot] = {}


def write(path: Path, title: str, sections: Sequence[Section], *, seconds: int | None = None) -> None:
    """Replaces a file by a page.

    Args:
        path: The file.
        title: The page's.
        sections: What is on it; the first has no heading of its own but the title.
        seconds: After how many the page loads itself again, None for never.
    """
    # Under a name of its own: a run may end while another process makes its page anew.
    own = path.with_name(f".{path.name}.{os.getpid()}")
    files.write(own, page(title, sections, seconds=seconds))
    os.replace(own, path)


def page(title: str, sections: Sequence[Section], *, seconds: int | None = None) -> str:
    """Returns a page; see `write`."""
    plots = {name: plot for section in sections for name, plot in section.plots.items()}
    again = f'<meta http-equiv="refresh" content="{seconds}">' if seconds else ""
    links = "".join(
        f'<a href="#s{number}">{text(section.heading)}</a>'
        for number, section in enumerate(sections)
        if number
    )
    bodies = "".join(
        f'<section id="s{number}"><h2>{text(section.heading)}</h2>{section.body}</section>'
        if number
        else f"<header><h1>{text(section.heading)}</h1>{section.body}</header><nav>{links}</nav>"
        for number, section in enumerate(sections)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark">{again}<link rel="icon" href="data:,">'
        f"<title>{text(title)}</title><style>{_asset('page.css')}</style></head>\n<body>"
        '<button id="theme" type="button" title="light or dark">◐</button>'
        f"<main>{bodies}</main>\n"
        f'<script type="application/json" id="plots">{in_script(plots)}</script>\n'
        f'<script type="text/plain" id="plotly">{_plotly()}</script>\n'
        f"<script>{_asset('page.js')}</script></body></html>\n"
    )


def text(value: object) -> str:
    """Returns a text as HTML shows it as it is."""
    return html.escape(str(value))


def in_script(value: Any) -> str:
    """Returns JSON that can stand in a page's script: without what would end that, or be no JSON (NaN)."""
    written = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    return written.replace("<", "\\u003c")


def canvas(name: str, height: int, kind: str = "") -> str:
    """Returns the element that the plot of this name is drawn in, `height` pixels high."""
    return f'<div class="plot {kind}" id="{name}" style="height:{height}px"></div>'


def note(words: str) -> str:
    """Returns a remark beside a plot."""
    return f'<p class="note">{text(words)}</p>'


def number(name: str, value: float | None, shown: str) -> str:
    """Returns a number of a summary as a page has it: shown as people read it, and kept as it is."""
    return f'<span data-name="{text(name)}" data-value="{json.dumps(value)}">{text(shown)}</span>'


def _finite(value: Any) -> Any:
    """Replaces what is not finite, deep within, by None, which Plotly takes for a gap."""
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float):
        return round(value, 6) if abs(value) < float("inf") else None
    return value


@functools.cache
def _plotly() -> str:
    """Returns Plotly's JavaScript, deflated and in base64."""
    found = importlib.util.find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        raise UserError("the pages need Plotly, which is not installed here: pip install plotly")
    source = Path(found.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    # The fastest: the best would be an eighth smaller and take three times as long, at the end of every run.
    return base64.b64encode(zlib.compress(source.read_bytes(), 1)).decode()


@functools.cache
def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
