"""Whether a state dict is a network's; and where it is not, what is wrong, and whose it would be."""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jkd import models
from jkd.interop import names

Arrays = Mapping[str, np.ndarray]


class Fit(NamedTuple):
    """How a state dict compares with the entries of a network that has as many classes.

    Attributes:
        expected: The network's entries.
        faults: What does not fit, by its kind.
        share: The part of all entries, of both, that fit.
    """

    expected: dict[str, names.Entry]
    faults: dict[str, list[str]]
    share: float

    def __str__(self) -> str:
        """Names what does not fit."""
        found = ((kind, which) for kind, which in self.faults.items() if which)
        return "; ".join(f"{len(which)} {kind} ({first(which)})" for kind, which in found)


def fit(name: str, given: Arrays) -> Fit:
    """Compares a state dict with a network; the classifier's shape gives the number of classes."""
    expected = dict(names.entries(name))
    weight = next((key for key, entry in expected.items() if len(entry.shape) == 2), "")
    classifier = [key for key in (weight, weight.replace("weight", "bias")) if key in expected]
    sizes = [given[key].shape[0] for key in classifier if key in given and given[key].ndim]
    for key in classifier:
        path, (_, *inputs) = expected[key]
        expected[key] = names.Entry(path, (max(1, *sizes[:1], 1), *inputs))
    wrong = [key for key in expected if key in given and given[key].shape != expected[key].shape]
    faults = {
        "missing": [key for key in expected if key not in given],
        "unexpected": [key for key in given if key not in expected],
        "wrongly shaped": [f"{key} {given[key].shape}, should be {expected[key].shape}" for key in wrong],
        "of another type": [
            f"{key} {value.dtype}, should be float16 to float64"
            for key, value in given.items()
            if not _is_float(value)
        ],
    }
    unfit = sum(len(faults[kind]) for kind in ("missing", "unexpected", "wrongly shaped"))
    return Fit(expected, faults, 1 - unfit / len(expected.keys() | given.keys()))


def whose(name: str, given: Arrays, found: Fit) -> str:
    """Says which network's a state dict is that is not `name`'s, or which is the nearest to it.

    Args:
        name: The network that it was said to be of.
        given: The state dict.
        found: How it compares with that one. Where a few entries alone do not fit, it is that one, damaged,
            and no other is looked for: that takes up to a second each.
    """
    if found.share > 0.9 or not any(key.endswith("weight") and a.ndim == 4 for key, a in given.items()):
        return ""
    others = [other for other in models.names() if not isinstance(models.create(other, 1), models.OwnNetwork)]
    others.sort(key=lambda other: difflib.SequenceMatcher(None, name, other).ratio(), reverse=True)
    best, share = name, found.share
    foreign: set[type] = set()  # families of which one has hardly an entry in common with the state dict
    for other in others:
        family = type(models.create(other, 1))
        if family in foreign:
            continue
        compared = fit(other, given)
        if len(compared.expected.keys() & given.keys()) < 0.5 * min(len(compared.expected), len(given)):
            foreign.add(family)
        if compared.share == 1:
            return f" but of {other}"
        if compared.share > share:
            best, share = other, compared.share
    if share < 0.5:
        return " nor of any other network of jkd (one of your own teaches from Python, as a jkd.Teacher)"
    return "" if best == name else f" (nearest is {best}: {share:.0%} of the entries fit)"


def faulty_values(key: str, value: np.ndarray) -> list[str]:
    """Says what in an entry cannot be of a network that was trained."""
    faults = []
    if bad := np.count_nonzero(~np.isfinite(value)):
        faults.append(f"{key} has {bad:,} of {value.size:,} values that are not finite")
    if key.endswith(names.LEAVES["var"]) and (value < 0).any():
        faults.append(f"{key} has a variance of {value.min():g}")
    return faults


def first(found: list[str], count: int = 4) -> str:
    """Lists the first few of what was found; names from a file are shown as one line, whatever they hold."""
    shown = [text if text.isprintable() else ascii(text) for text in found[:count]]
    return ", ".join(text[:120] for text in shown) + (", ..." if len(found) > count else "")


def _is_float(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jnp.floating) and value.dtype.itemsize >= 2
