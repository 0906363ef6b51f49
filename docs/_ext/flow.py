"""`{flow} NAME` draws who flows where in a method, from its lines in flows.toml, as SVG within the page.

Colours are the theme's own variables, so that a picture is light or dark as the page is.
"""

import tomllib
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

FLOWS = tomllib.loads(Path(__file__).with_name("flows.toml").read_text(encoding="utf-8"))
TOP, STEP = 26, 62  # of the boxes of what is matched


def _box(x, y, width, height, lines, kind="") -> str:
    """A rectangle with lines of text in its middle, the first of them stronger."""
    middle = y + height / 2 - 8 * (len(lines) - 1) + 4.5
    text = "".join(
        f'<text class="{"" if i else "strong"}" x="{x + width / 2}" y="{middle + 16 * i}">'
        f"{escape(line)}</text>"
        for i, line in enumerate(lines)
    )
    return f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="7"/>{text}'


def _arrow(*points, kind="") -> str:
    path = "M" + "L".join(f"{x} {y}" for x, y in points)
    return f'<path class="{kind}" d="{path}" marker-end="url(#head)"/>'


def draw(name: str) -> str:
    """Returns the picture of a method as SVG.

    Raises:
        KeyError: flows.toml does not have it.
    """
    flow = FLOWS[name]
    knowledge, upper = flow.get("knowledge", []), flow.get("upper")
    labels = TOP + STEP * len(knowledge) + 14  # the row of the cross-entropy
    student = max(labels - 4, TOP + 100) if knowledge else labels
    middle = student + 24
    parts = [
        _box(10, middle - 24, 92, 48, ["images"]),
        _box(160, middle - 24, 110, 48, ["student"], "student"),
    ]
    parts += [_arrow((102, middle), (158, middle)), _arrow((270, middle), (326, middle))]
    parts += [_box(328, middle - 24, 208, 48, ["cross-entropy", flow.get("ce", "logits and labels")])]
    sum_top = TOP if knowledge else middle - 24
    parts += [
        _box(768, sum_top, 66, middle + 24 - sum_top, ["loss"], "loss"),
        _arrow((536, middle), (766, middle)),
    ]
    below = middle + 46
    parts += [_arrow((800, middle + 24), (800, below), (215, below), (215, middle + 26), kind="back")]
    parts += [f'<text class="note" x="432" y="{below - 7}">gradient to the student</text>']
    height = below + 16
    if knowledge:
        teachers = TOP + (STEP * len(knowledge) - 14) / 2
        parts += [_box(168 - 6 * i, teachers - 18 - 6 * i, 110, 48, [""], "teacher") for i in (0, 1)]
        parts += [_box(156, teachers - 30, 110, 48, ["teachers", "1 … K"], "teacher")]
        parts += [_arrow((56, middle - 24), (56, teachers - 6), (154, teachers - 6))]
        for i, (what, between) in enumerate(knowledge):
            y = TOP + STEP * i
            parts += [_box(328, y, 208, 48, [what, between])]
            parts += [
                _arrow((278, teachers), (326, y + 18)),
                _arrow((242, middle - 24), (242, middle - 34), (326, y + 34)),
            ]
            parts += [_arrow((536, y + 24), (562, y + 24))]
        end = TOP + STEP * len(knowledge) - 14
        tall = max(end - TOP, 22 + 16 * (1 + len(flow["by"])))
        parts += [
            _box(564, TOP, 180, tall, [flow["weights"], *flow["by"]], "weights"),
            _arrow((744, TOP + 24), (766, TOP + 24)),
        ]
        if upper:
            row = below + 20
            parts += [_box(328, row, 416, 44, ["upper level", upper], "upper")]
            parts += [_arrow((653, row), (653, TOP + tall + 2), kind="upward")]
            parts += [f'<text class="note" x="704" y="{row - 5}">hypergradient</text>']
            height = row + 54
    title = f"{name}: from images through teachers and student to the loss"
    return (
        f'<div class="flow"><svg role="img" viewBox="0 0 842 {height}" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto">'
        f'<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>{"".join(parts)}</svg></div>'
    )


class Flow(SphinxDirective):
    """The picture of a method."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Returns it as HTML."""
        return [nodes.raw("", draw(self.arguments[0]), format="html")]


def setup(app):
    """Adds the directive."""
    app.add_directive("flow", Flow)
    return {"parallel_read_safe": True}
