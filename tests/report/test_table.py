"""The tables of a comparison: what a reader finds in them."""

import csv
import io

import pytest
from made_up import make_result

from jkd.report import table
from jkd.report.results import Result, rows
from jkd.report.table import Published

RESULTS = [
    make_result(method, seed, top1 + 0.01 * seed)
    for seed in range(3)
    for method, top1 in (("scratch", 0.70), ("aver", 0.72), ("bomd", 0.75))
]


def cells(text):
    """Rows of the table by method, as {column: cell}."""
    lines = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if "|" in line
    ]
    return {line[0]: dict(zip(lines[0], line, strict=False)) for line in lines[2:]}


def markdown(results, **more):
    return table.markdown(results, rows(results, "aver"), "aver", {"Data": "made up"}, **more)


def test_means_deviations_and_differences_in_percent():
    text = markdown(RESULTS)
    found = cells(text)
    assert found["scratch"]["top-1 %, last epoch"] == "71.00 ± 1.00"
    assert found["scratch"]["best top-1 % (chosen on test)"] == "72.00 ± 1.00"
    assert found["scratch"]["difference to aver, 95% interval"] == "-2.00 [-2.00, -2.00]"
    assert found["aver"]["difference to aver, 95% interval"] == "baseline"
    assert found["scratch"]["Holm-corrected interval"] == "[-2.00, -2.00]"
    assert found["bomd"]["time per step, × aver"] == "1.00"
    assert found["bomd"]["parameters"] == "1,234,567"
    assert found["teacher vgg13-seed1"]["top-1 %, last epoch"] == "75.00"
    assert found["teachers' ensemble"]["top-1 %, last epoch"] == "77.00"
    assert "- Data: made up" in text


def test_with_one_seed_it_says_why_there_is_no_interval():
    text = markdown(RESULTS[:3])
    assert cells(text)["bomd"]["difference to aver, 95% interval"] == "+3.00"
    assert cells(text)["bomd"]["top-1 %, last epoch"] == "75.00"
    assert "one seed, so there is no deviation and no interval" in text


def test_diverged_runs_are_named_and_unfinished_ones_counted():
    results = [*RESULTS, Result("mmkd", 0, [], diverged="not finite at step 7"), Result("mmkd", 1, [])]
    text = markdown(results)
    assert cells(text)["mmkd"]["seeds"] == "0, 1 diverged, 1 to come"
    assert "mmkd seed 0 diverged (remove its folder to try again): not finite at step 7" in text


def test_published_numbers_stand_beside_the_measured_ones():
    found = {
        "bomd": Published(75.25, "the paper's abstract"),
        "scratch": Published(70.36, "a README", "last", 3),
    }
    text = markdown(RESULTS, published=found)
    assert cells(text)["bomd"]["published top-1 %"] == "75.25"
    assert cells(text)["aver"]["published top-1 %"] == "–"
    assert cells(text)["scratch"]["published top-1 %"] == "70.36 (last)"
    assert "Published bomd: 75.25 (epoch not said, seeds not said), the paper's abstract" in text
    assert "Published scratch: 70.36 (last epoch, 3 seeds), a README" in text


def test_comma_separated_values_are_numbers():
    (scratch, aver, _) = csv.DictReader(io.StringIO(table.comma_separated(rows(RESULTS, "aver"))))
    assert float(scratch["top1_mean"]) == pytest.approx(0.71)
    assert float(scratch["difference_low"]) == pytest.approx(-0.02)
    assert float(aver["difference"]) == 0
    single = table.comma_separated(rows(RESULTS[:1], "scratch"))
    assert next(csv.DictReader(io.StringIO(single)))["top1_std"] == ""


def test_every_run_is_listed():
    results = [*RESULTS[:1], Result("mmkd", 0, [], diverged="x"), Result("mmkd", 1, [])]
    lines = list(csv.DictReader(io.StringIO(table.comma_separated_runs(results))))
    assert [line["state"] for line in lines] == ["finished", "diverged", "missing"]
    assert float(lines[0]["top1"]) == 0.70 and not lines[1]["top1"]
