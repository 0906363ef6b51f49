"""Tables that pages take from the code and from results, so that no number of theirs is written twice.

`{hyperparameters} NAME` lists a method's settings, `{settings} PART` those of every run, `{given} NAME` shows
what a method's module says of its source, `{rows} NAME` its rows in experiments/results.
"""

import importlib
import inspect
from pathlib import Path

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from jkd import methods
from jkd.comparison.compare import Compare
from jkd.distillation.export import Export
from jkd.flags import Flag, flag_name, settings
from jkd.planning.settings import PARTS

ROOT = Path(__file__).resolve().parents[2]
OWNERS = PARTS | {"compare": Compare, "export": Export}


def settings_table(owner) -> str:
    """Returns a table of settings in Markdown, with a heading line where `--help` has one."""
    lines = ["| setting | default | range | meaning |", "| --- | --- | --- | --- |"]
    group = None
    for setting in settings(owner):
        if setting.flag.group != group and setting.flag.group:
            lines.append(f"| *{setting.flag.group}* | | | |")
        group = setting.flag.group
        flag = flag_name(setting.name)
        shown = [flag, flag.replace("--", "--no-", 1)] if setting.type is bool else [flag]
        cells = " ".join(f"`{each}`" for each in shown), _default(setting), _range(setting.flag)
        lines.append(f"| {' | '.join(cells)} | {_plain(setting.flag.meaning)} |")
    return "\n".join(lines)


def _default(setting) -> str:
    if setting.default is None or setting.default == ():
        return _plain(setting.flag.default or "none")
    if isinstance(setting.default, bool):
        return "yes" if setting.default else "no"
    return (
        f"`{','.join(map(str, setting.default)) if isinstance(setting.default, tuple) else setting.default}`"
    )


def _range(flag: Flag) -> str:
    if flag.choices:
        return ", ".join(f"`{choice}`" for choice in flag.choices)
    limits = {"> ": flag.above, "≥ ": flag.at_least, "< ": flag.below, "≤ ": flag.at_most}
    return ", ".join(f"{sign}{limit:,g}" for sign, limit in limits.items() if limit is not None)


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("_", "\\_").replace("*", "\\*")


def given(name: str) -> str:
    """Returns what the module of a method says of its source and of our choices; its title goes first."""
    text = inspect.getdoc(importlib.import_module(f"jkd.methods.{name}"))
    return f"*{text.partition(chr(10))[0].strip()}*\n{text.partition(chr(10))[2]}"


def rows(name: str) -> str:
    """Returns the rows of a method in the tables of experiments/results, beside the baseline's."""
    found = []
    for path in sorted(ROOT.glob("experiments/results/*/table.md")):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
        own = [line for line in lines if line.split(" | ")[0] == f"| {name}"]
        if own:
            page = path.parent / "README.md"
            title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
            baseline = [line for line in lines if line.startswith("| aver |") and name != "aver"]
            table = "\n".join([lines[0], lines[1], *baseline, *own])
            found.append(f"[{title}](/{page.relative_to(ROOT)}):\n\n{table}")
    return "\n\n".join(found) or "It has no row in the tables of [results](/docs/results.md) yet."


class FromCode(SphinxDirective):
    """A directive whose content is Markdown that a function makes of its argument."""

    required_arguments = 1
    make = staticmethod(str)

    def run(self) -> list[nodes.Node]:
        """Returns what the Markdown says."""
        try:
            text = type(self).make(self.arguments[0])
        except (KeyError, ImportError) as missing:
            raise ExtensionError(f"{self.name}: there is no {missing}") from missing
        return self.parse_text_to_nodes(text)


DIRECTIVES = {
    "hyperparameters": lambda name: settings_table(methods.METHODS[name]),
    "settings": lambda part: settings_table(OWNERS[part]),
    "given": given,
    "rows": rows,
}


def _title(app, docname, source):
    if docname.endswith("/table"):  # written by `compare`, to be read within other pages too
        source[0] = f"# Table of a comparison\n\n{source[0]}"


def setup(app):
    """Adds the directives, and a title to the tables of results."""
    app.connect("source-read", _title)
    for name, make in DIRECTIVES.items():
        app.add_directive(name, type(name, (FromCode,), {"make": staticmethod(make)}))
    return {"parallel_read_safe": True}
