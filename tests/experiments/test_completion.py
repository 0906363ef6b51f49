"""What a shell offers after `jkd`."""

import subprocess

import pytest

from jkd.experiments import completion
from jkd.experiments.__main__ import _OTHERS
from jkd.methods import METHODS

shtab = pytest.importorskip("shtab")

OFFER = """
source {script}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
COMP_LINE="${{COMP_WORDS[*]}}"
COMP_POINT=${{#COMP_LINE}}
_shtab_jkd
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "jkd.bash"
    path.write_text(shtab.complete(completion.parser(), "bash"))
    return path


def test_every_command_is_there():
    assert set(completion.parsers()) == {*METHODS, *_OTHERS}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("jkd bo", {"bomd"}),
        ("jkd com", {"compare"}),
        ("jkd bomd --teacher-v", {"--teacher-views"}),
        ("jkd aver --upper-st", set()),
        ("jkd bomd --upper-step u", {"unrolled"}),
        ("jkd mmkd --student resnet32x", {"resnet32x4"}),
        ("jkd compare --bomd.be", {"--bomd.beta"}),
        ("jkd precompute ca", {"camkd"}),
    ],
)
def test_bash_offers(script, words, offered):
    code = OFFER.format(script=script, words=words)
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == offered, done.stderr


def test_zsh_has_the_same():
    text = shtab.complete(completion.parser(), "zsh")
    assert text.startswith("#compdef jkd") and "--upper-step" in text and "(mirror unrolled)" in text
