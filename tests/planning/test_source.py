"""Own code that was edited, or that holds other values, is told from what it was; the same is the same."""

import importlib
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny

from jkd.planning.source import own_code


def brought(folder, files, module):
    """Imports a module of a folder with these files, as a new process would."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tops = {name.partition("/")[0].removesuffix(".py") for name in files}
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return importlib.import_module(module)


PACKAGE = {
    "somebodys/__init__.py": "",
    "somebodys/util.py": "FACTOR = 1\n",
    "somebodys/methods/__init__.py": "",
    "somebodys/methods/mine.py": "from somebodys.util import FACTOR\ndef mine(): return FACTOR\n",
}
LATE = {
    "late.py": "def mine():\n    import late_helper\n    return late_helper.FACTOR\n",
    "late_helper.py": "FACTOR = 1\n",
}


@pytest.mark.parametrize(
    ("files", "module", "edited"),
    [(PACKAGE, "somebodys.methods.mine", "somebodys/util.py"), (LATE, "late", "late_helper.py")],
    ids=["elsewhere in the package", "imported within a function"],
)
def test_what_it_imports_is_part_of_it(tmp_path, monkeypatch, files, module, edited):
    monkeypatch.syspath_prepend(tmp_path / "first")
    found = brought(tmp_path / "first", files, module)
    before = own_code(found.mine)
    found.mine()
    assert own_code(found.mine) == before, "whether or not it has been called"
    monkeypatch.syspath_prepend(tmp_path / "copy")
    assert own_code(brought(tmp_path / "copy", files, module).mine) == before
    monkeypatch.syspath_prepend(tmp_path / "other")
    other = brought(tmp_path / "other", files | {edited: "FACTOR = 2\n"}, module)
    assert own_code(other.mine) != before


def scaled(by):
    return lambda variables, images: by * images


def bound(by):
    return lambda variables, images, by=by: by * images


class Scaled:
    def __init__(self, by):
        self.by = by

    def __call__(self, variables, images):
        return self.by * images


def through(function):
    return lambda variables, images: function(variables, images)


def exported(factor):
    program = jax.export.export(jax.jit(lambda x: factor * x))(jax.ShapeDtypeStruct((3,), jnp.float32))
    return lambda variables, images: program.call(images)


DIFFERENT = {
    "a number": (scaled(1.0), scaled(2.0)),
    "a default": (bound(1.0), bound(2.0)),
    "words in a set": (scaled({"a", "b", "c"}), scaled({"a", "b", "d"})),
    "an object's": (Scaled(1.0), Scaled(2.0)),
    "an array": (scaled(np.arange(3000.0)), scaled(np.arange(3000.0) + (np.arange(3000) == 1500))),
    "an array of jax's": (scaled(jnp.zeros(3)), scaled(jnp.ones(3))),
    "numbers in a dictionary": (scaled({"by": [1, 2]}), scaled({"by": [1, 3]})),
    "a function's": (through(scaled(1.0)), through(scaled(2.0))),
    "a partial function's": (through(partial(scaled, by=1)), through(partial(scaled, by=2))),
    "a compiled function's": (through(jax.jit(scaled(1.0))), through(jax.jit(scaled(2.0)))),
    "a network's": (scaled(Tiny(10)), scaled(Tiny(10, width=16))),
    "whose method it is": (Tiny(10).apply, Tiny(10, width=16).apply),
    "an exported program": (exported(1.0), exported(2.0)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_a_function_holds_is_part_of_it(what):
    one, other = DIFFERENT[what]
    assert own_code(one) == own_code(one) != own_code(other)


def test_the_same_values_are_the_same_and_objects_have_no_address():
    assert own_code(scaled(1.0)) == own_code(scaled(1.0))
    assert own_code(scaled(object())) == own_code(scaled(object()))
    itself = []
    itself.append(itself)
    assert own_code(scaled(itself))


def test_whose_method_it_is_brings_its_source(tmp_path, monkeypatch):
    text = "import flax.linen as nn\nclass Own(nn.Module):\n    def __call__(self, x): return {} * x\n"
    digits = []
    for factor in (1, 2):
        monkeypatch.syspath_prepend(tmp_path / str(factor))
        own = brought(tmp_path / str(factor), {"own_net.py": text.format(factor)}, "own_net")
        digits.append(own_code(own.Own().apply))
    assert digits[0] != digits[1]


CELLS = """
{}
def helper(images): return FACTOR * images
class Twice:
    by = 2
    def __call__(self, images): return self.by * helper(images)
def mine(variables, images): return Twice()(images)
"""


@pytest.mark.parametrize("factor", ["FACTOR = 1.5", "import math\nFACTOR = math.tau"])
def test_of_a_notebook_what_a_function_calls_is_part_of_it(factor):
    def typed(text):
        names = {"__name__": "a_notebook"}
        exec(compile(text, "<cell>", "exec"), names)
        return own_code(names["mine"])

    first = typed(CELLS.format("FACTOR = 1"))
    assert first == typed(CELLS.format("FACTOR = 1")) == typed(CELLS.format("FACTOR = 1") + "ELSE = 3\n")
    assert typed(CELLS.format(factor)) != first
    assert typed(CELLS.format("FACTOR = 1").replace("by = 2", "by = 3")) != first
