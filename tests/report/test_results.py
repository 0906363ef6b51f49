"""The arithmetic of a comparison's table."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import make_result
from scipy import stats

from jkd.report.results import Result, paired_difference, rows, spread


def test_a_textbook_interval():
    # Differences 1, 2, 3: mean 2, deviation 1, t = 4.302653 with two degrees of freedom.
    found = paired_difference({0: 11.0, 1: 22.0, 2: 33.0}, {0: 10.0, 1: 20.0, 2: 30.0})
    half = 4.302653 / math.sqrt(3)
    np.testing.assert_allclose(found, (2, 2 - half, 2 + half, 3), rtol=1e-6)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=9))
@settings(max_examples=50, deadline=None)
def test_the_interval_is_that_of_the_paired_t_test(values):
    ours, theirs = np.array(values).T
    found = paired_difference(dict(enumerate(ours)), dict(enumerate(theirs)))
    if np.ptp(ours - theirs) < 1e-6:
        np.testing.assert_allclose(found.high, found.low, atol=1e-4)
    else:
        interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
        np.testing.assert_allclose((found.low, found.high), interval, rtol=1e-6, atol=1e-9)


def test_only_seeds_that_both_have_are_paired():
    found = paired_difference({0: 0.5, 1: 0.7, 3: 0.9}, {1: 0.6, 2: 0.1, 3: 0.6})
    assert found.pairs == 2
    assert found.mean == pytest.approx(0.2)


def test_one_seed_has_no_deviation_and_no_interval():
    assert math.isnan(spread([0.5]).std)
    found = paired_difference({0: 0.5}, {0: 0.4})
    assert found.mean == pytest.approx(0.1) and found.pairs == 1
    assert math.isnan(found.low) and math.isnan(found.high)


def test_the_deviation_is_the_samples():
    assert spread([1.0, 3.0]) == (2.0, math.sqrt(2))


def test_diverged_and_missing_runs_are_counted_and_left_out():
    results = [
        make_result("aver", 0, 0.70),
        make_result("aver", 1, 0.72),
        make_result("bomd", 0, 0.73),
        Result("bomd", 1, [], diverged="the loss is not finite at step 7"),
        Result("mmkd", 0, []),
    ]
    aver, bomd, mmkd = rows(results, "aver")
    assert aver.top1.mean == pytest.approx(0.71)
    assert (bomd.finished, bomd.diverged, bomd.missing) == (1, 1, 0)
    assert bomd.difference.pairs == 1 and bomd.difference.mean == pytest.approx(0.03)
    assert mmkd.missing == 1 and math.isnan(mmkd.top1.mean) and mmkd.difference.pairs == 0


def test_the_first_epochs_compilation_does_not_count_as_speed():
    assert rows([make_result("aver", 0, 0.7, epochs=3)], "aver")[0].images_per_second == 100
    assert rows([make_result("aver", 0, 0.7, epochs=1)], "aver")[0].images_per_second == 10
