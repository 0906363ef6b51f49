"""`--version` on every command."""

import runpy
import sys
from pathlib import Path

import pytest

import jkd
import jkd.experiments

COMMANDS = [
    path.stem
    for path in Path(jkd.experiments.__path__[0]).glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8") and "if __name__" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_says_its_version(name, capsys, monkeypatch):
    module = "jkd.experiments" + ("" if name == "__main__" else f".{name}")
    monkeypatch.setattr(sys, "argv", [name, "--version"])
    monkeypatch.delitem(sys.modules, module, raising=False)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as stopped:
        assert not stopped.code
    assert capsys.readouterr().out == f"jkd {jkd.__version__}\n"
