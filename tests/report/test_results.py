"""The arithmetic of a comparison's table."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_up import make_result
from scipy import stats

from jkd.report.results import Result, by_seed, paired_difference, rows, spread


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


def test_holms_correction_of_a_textbooks_p_values():
    # Holm (1979) with p = 0.01, 0.02, 0.03: levels 0.05/3, 0.05/2 and, since none fails, 0.05.
    def made(method, p, n=5):
        pattern = np.array([-2, -1, 0, 1, 2]) * 0.001  # of mean 0
        t = stats.t.isf(p / 2, n - 1)
        mean = t * pattern.std(ddof=1) / math.sqrt(n)
        return [make_result(method, seed, 0.7 + mean + pattern[seed]) for seed in range(n)]

    def found(*ps):
        base = [make_result("aver", seed, 0.7) for seed in range(5)]
        results = sum((made(f"m{i}", p) for i, p in enumerate(ps)), base)
        return [row.corrected for row in rows(results, "aver")[1:]], results

    assert [c.low > 0 for c in found(0.01, 0.02, 0.03)[0]] == [True, True, True]
    # The second fails at 0.025, and the third with it, though it would pass at 0.05 alone.
    corrected, results = found(0.001, 0.03, 0.04)
    assert [c.low > 0 for c in corrected] == [True, False, False]
    for method, level, interval in zip(("m0", "m1", "m2"), (0.05 / 3, 0.025, 0.025), corrected, strict=True):
        pairs = [by_seed(results, name, "last.test/top1") for name in (method, "aver")]
        test = stats.ttest_rel(*(list(values.values()) for values in pairs))
        np.testing.assert_allclose(interval[1:3], test.confidence_interval(1 - level), rtol=1e-6)


p_values = st.lists(st.floats(0.001, 0.5), min_size=1, max_size=6)


@given(p_values, st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_corrected_intervals_miss_zero_where_holm_rejects(ps, seed):
    draw = np.random.default_rng(seed)
    results = [make_result("aver", i, 0.5) for i in range(4)]
    for number, p in enumerate(ps):
        noise = draw.normal(size=4)
        noise -= noise.mean()
        mean = stats.t.isf(p / 2, 3) * noise.std(ddof=1) / 2
        results += [make_result(f"m{number}", i, 0.5 + 0.01 * (mean + noise[i])) for i in range(4)]
    # Holm's adjusted p: the running maximum of (m - rank) p over those in order.
    order = np.argsort(ps)
    adjusted = np.maximum.accumulate((len(ps) - np.arange(len(ps))) * np.array(ps)[order])
    assume(np.abs(adjusted - 0.05).min() > 1e-6)
    rejected = {f"m{method}": p < 0.05 for method, p in zip(order, adjusted, strict=True)}
    for row in rows(results, "aver")[1:]:
        assert (row.corrected.low > 0) == rejected[row.method]
        assert row.corrected.low <= row.difference.low + 1e-12


def test_what_training_costs():
    aver, slow = (
        dataclasses.replace(make_result(method, 0, 0.7), train_images=images)
        for method, images in (("aver", 100), ("slow", 95))
    )
    for record in slow.records:
        record |= {"time/images_per_second": 25.0, "memory/step_bytes": 3 * 2**20}
    first, second = rows([aver, slow], "aver")
    assert (first.relative_time, second.relative_time) == (1, 4)
    assert (first.train_images, second.train_images) == (100, 95)
    assert math.isnan(first.step_bytes) and second.step_bytes == 3 * 2**20


def test_the_first_epochs_compilation_does_not_count_as_speed():
    assert rows([make_result("aver", 0, 0.7, epochs=3)], "aver")[0].images_per_second == 100
    assert rows([make_result("aver", 0, 0.7, epochs=1)], "aver")[0].images_per_second == 10
