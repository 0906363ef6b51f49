"""Methods that are not jkd's: registered, or brought by an installed package."""

from typing import Annotated, Literal

import pytest

from jkd import methods
from jkd.errors import UserError
from jkd.experiments.parser import Parser
from jkd.flags import settings
from jkd.methods.aver import aver

PACKAGE = """
from jkd.methods.aver import aver

def packaged(*, alpha: float = 2.0):
    return aver(alpha=alpha)
"""


def test_an_installed_package_brings_methods(tmp_path, monkeypatch):
    (tmp_path / "somebodys.py").write_text(PACKAGE)
    info = tmp_path / "somebodys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
    points = "[jkd.methods]\npackaged = somebodys:packaged\nbroken = somebodys:nothing\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(methods, "METHODS", dict(methods.METHODS))
    assert methods.create("packaged", alpha=3).upper_level is None
    with pytest.raises(UserError, match="did you mean 'packaged'"):
        methods.create("packagd")
    with pytest.raises(UserError, match="broken': somebodys:nothing cannot be loaded"):
        methods.create("broken")


def test_jkds_names_are_taken():
    with pytest.raises(UserError, match="there is a method 'bomd' in jkd already"):
        methods.register("bomd", aver)


def test_hyperparameters_may_be_annotated_in_any_way():
    def own(
        *,
        told: Annotated[float, "how much"] = 1.0,
        typed: int = 3,
        bare=0.5,
        words=("a",),
        kind: Literal["x", "y"] = "x",
    ):
        """Does nothing."""

    parser = Parser("prog", "Does nothing.")
    parser.add_settings("Own", own)
    assert "how much (default: 1.0)" in parser.format_help()
    flags = ["--told=2", "--typed=4", "--bare=1", "--words=b,c", "--kind=y"]
    expected = {"told": 2.0, "typed": 4, "bare": 1.0, "words": ("b", "c"), "kind": "y"}
    assert parser.parse(flags) == expected

    def unclear(*, what: object = None):
        """Does nothing."""

    with pytest.raises(UserError, match=r"the setting 'what' is a .*object.*; it can be True"):
        settings(unclear)

    def needing(*, what: float):
        """Does nothing."""

    with pytest.raises(UserError, match="needing: the setting 'what' has no default; give it one"):
        settings(needing)
