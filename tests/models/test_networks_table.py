"""The table of docs/networks.md says what the networks are."""

import runpy
from pathlib import Path

import pytest
import tiny

import jkd
from jkd import models

SCRIPT = runpy.run_path(str(Path(jkd.__file__).parent.parent / "docs" / "networks.py"))
NAMES = [name for name in models.names() if name not in tiny.NETWORKS]


def test_every_network_has_its_line():
    assert [line.split("`")[1] for line in SCRIPT["rows"]()] == NAMES


@pytest.mark.parametrize(
    "name", ["vgg8", "ShuffleV1", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES)]
)
def test_a_line_is_what_the_network_has(name):
    assert str(SCRIPT["row"](name)) in SCRIPT["rows"]()


def test_counts_are_torchvisions():
    row = SCRIPT["row"]("resnet18_imagenet")  # its documentation: 11,689,512 and 1.81 G
    assert (row.parameters, round(row.multiply_adds / 1e9, 2)) == (11_689_512, 1.81)
