"""Docstrings as they are written in jkd: lists without a blank line before them, code in single backticks."""

import re

_ITEM = re.compile(r"\s*(- |\d+\. )")
_FENCE = re.compile(r"(\s*)```(\w*)")
_ENDING = re.compile(r"(`[^`]+`)(?=[a-z])")  # as in `register`ed


def tidy(lines: list[str]) -> list[str]:
    """Returns lines of reStructuredText: a blank line before each list, code fences as code blocks."""
    tidied: list[str] = []
    in_fence, in_list = False, False
    for line in lines:
        if fence := _FENCE.fullmatch(line):
            in_fence = not in_fence
            tidied += ["", f"{fence[1]}.. code-block:: {fence[2] or 'text'}", ""] if in_fence else [""]
            continue
        item = bool(_ITEM.match(line))
        if item and not in_list and tidied and tidied[-1].strip():
            tidied.append("")
        in_list = item or (in_list and (not line.strip() or line.startswith("  ")))
        tidied.append(f"    {line}" if in_fence else _ENDING.sub(r"\1\\ ", line))
    return tidied


def _process(app, what, name, owner, options, lines):
    lines[:] = tidy(lines)


def _shorten(app, what, name, owner, options, signature, returned):
    return tuple(text and text.replace("jaxlib._jax.Array", "Array") for text in (signature, returned))


def setup(app):
    """Puts it before napoleon's reading."""
    app.connect("autodoc-process-docstring", _process, priority=100)
    app.connect("autodoc-process-signature", _shorten)
    return {"parallel_read_safe": True}
