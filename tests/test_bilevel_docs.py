"""The examples of docs/hypergradients.md, run as they stand there."""

import re
from pathlib import Path

import jax.numpy as jnp
import pytest

from jkd.bilevel import ESTIMATORS

PAGE = (Path(__file__).parents[1] / "docs" / "hypergradients.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def examples():
    results = []
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        names = {}
        exec(code, names)
        results.append(names)
    return results


def test_weights_of_examples(examples):
    wrong, weights = examples[0]["wrong"], examples[0]["weights"]
    assert weights[wrong].mean() < 0.2 and weights[~wrong].mean() > 0.6


def test_learning_rate(examples):
    names = examples[1]
    assert names["values"][-1] < 0.05 * names["values"][0]
    assert 0.001 < jnp.exp(names["upper"]["log_rate"]) < 1


def test_table_has_every_estimator():
    assert re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE) == list(ESTIMATORS)
