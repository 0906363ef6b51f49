"""The examples of docs/hypergradients.md, run as they stand there."""

import re
from pathlib import Path

import jax.numpy as jnp
import pytest

from jkd.bilevel import ESTIMATORS

PAGE = (Path(__file__).parents[1] / "docs" / "hypergradients.md").read_text(encoding="utf-8")


CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def example(number):
    names = {}
    exec(CODE[number], names)
    return names


def test_weights_of_examples():
    names = example(0)
    wrong, weights = names["wrong"], names["weights"]
    assert weights[wrong].mean() < 0.2 and weights[~wrong].mean() > 0.6


def test_learning_rate():
    names = example(1)
    assert names["values"][-1] < 0.05 * names["values"][0]
    assert 0.001 < jnp.exp(names["upper"]["log_rate"]) < 1


@pytest.mark.slow
def test_cosines_are_those_of_the_table():
    found = example(2)["found"]
    for row, cosines in (("SGD with momentum", found["SGD"]), ("Adam", found["Adam"])):
        told = re.search(rf"^\| {row} \| (.*) \|$", PAGE, re.MULTILINE).group(1).split(" | ")
        order = ("reverse", "truncated", "one-step", "first-order", "implicit")
        for name, value in zip(order, map(float, told), strict=True):
            assert abs(cosines[name] - value) < 0.02, (row, name)
        assert abs(cosines["unrolled"] - 1) < 1e-5


def test_table_has_every_estimator():
    assert re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE) == list(ESTIMATORS)
