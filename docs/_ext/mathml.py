"""Equations as MathML, which browsers draw themselves: no script and no network."""

from html import escape

import latex2mathml.converter
from docutils import nodes


def _html(latex: str, display: str) -> str:
    try:
        drawn = latex2mathml.converter.convert(latex, display=display)
    except Exception as error:
        raise ValueError(f"no equation: {latex!r} ({error!r})") from error
    return drawn.replace("<math ", f'<math aria-label="{escape(latex)}" ', 1)


def _inline(translator, node):
    translator.body.append(_html(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(translator, node):
    translator.body.append(f'<div class="equation">{_html(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app):
    """Registers the renderer and chooses it."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True}
