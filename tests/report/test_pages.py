"""The pages of runs and comparisons: what is in them, and where they come from."""

import html
import json
import re
import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_up import CLASSES, make_comparison, make_folder
from scipy.special import softmax

from jkd import run
from jkd.comparison import reopened
from jkd.comparison.pages import Report, report
from jkd.distillation.tested import examine
from jkd.errors import UserError
from jkd.machine import files
from jkd.report.page import of_run
from jkd.report.results import rows
from jkd.steps.evaluate import CALIBRATION_BINS, accuracy_metrics


def numbers(page):
    """The numbers of a page by name, as they are kept beside what is shown."""
    found = re.findall(r'data-name="([^"]*)" data-value="([^"]*)"', page.read_text())
    return {html.unescape(name): json.loads(value) for name, value in found}


def entry(summary, name):
    for part in re.split(r"\.(?!.*/.*\.)", name):
        summary = summary[int(part)] if part.isdecimal() else summary[part]
    return summary


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    summary = make_folder(folder, classes=["a<b>", "a<b>", "c", "d", "e"])
    return of_run.write(run.read(folder)), summary


def test_every_number_of_a_run_is_its_summarys(page):
    path, summary = page
    found = numbers(path)
    assert {"last.test/top1", "best.test/top1", "last.test/ece", "ensemble.top1", "teachers.1.top1"} <= set(
        found
    )
    for name, value in found.items():
        assert value == entry(summary, name), name


def test_a_page_asks_nothing_of_anybody(page):
    text = page[0].read_text()
    without_library = re.sub(r'<script type="text/plain".*?</script>', "", text, flags=re.DOTALL)
    assert not re.search(r'(src|href|url)\s*[=(]\s*["\']?(https?:)?//', without_library)
    assert "default-src 'none'" in text
    assert len(text) < 5e6


def test_a_page_whose_writer_dies_leaves_the_one_before(page, monkeypatch):
    before = page[0].read_text()

    def die(path, text):
        path.write_text(text[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "write", die)
    with pytest.raises(KeyboardInterrupt):
        of_run.write(run.read(page[0].parent))
    assert page[0].read_text() == before


def test_names_and_commands_are_shown_as_they_are(page):
    text = page[0].read_text()
    assert "<b>'" not in text and "a <note>" not in text
    assert "python -m it --a=&#x27;&lt;b&gt;&#x27;" in text and "a &lt;note&gt;" in text
    plots = json.loads(re.search(r'id="plots">(.*?)</script>', text)[1])
    assert set(plots["per_class"]["data"][0]["x"]) == {"a<b> (1)", "a<b> (2)", "c", "d", "e"}


@pytest.mark.parametrize("method", ["camkd", "scratch"])
def test_a_run_of_an_earlier_jkd_and_one_without_teachers_have_a_page(tmp_path, method):
    make_folder(tmp_path / "run", method, tested=False)
    text = of_run.write(run.read(tmp_path / "run")).read_text()
    assert "Single classes" not in text and "How it was made" in text
    make_folder(tmp_path / "new", method)
    text = of_run.write(run.read(tmp_path / "new")).read_text()
    assert "Single classes" in text
    assert ("Where the student errs" in text) == (method == "scratch")
    assert ("Who is listened to, per class" in text) == (method != "scratch")


def test_a_run_that_goes_on_has_a_page_that_loads_itself_again(tmp_path):
    make_folder(tmp_path / "run", tested=False)
    (tmp_path / "run" / "summary.json").unlink()
    text = of_run.write(run.read(tmp_path / "run"), seconds=7).read_text()
    assert 'http-equiv="refresh" content="7"' in text and "going on: epoch 3 of 3" in text
    (tmp_path / "run" / "metrics.jsonl").unlink()
    assert "going on: epoch 0 of 3" in of_run.write(run.read(tmp_path / "run")).read_text()


def test_every_number_of_a_comparison_is_its_tables(tmp_path):
    made = make_comparison(tmp_path / "compared")
    found = numbers(tmp_path / "compared" / "report.html")
    for row in rows(made.results, made.baseline):
        assert found[f"{row.method}.top1"] == row.top1.mean
        if row.method != made.baseline:
            assert found[f"{row.method}.difference"] == row.difference.mean
    for result in made.results:
        name = f"{result.method}.{result.seed}.last.test/top1"
        assert found[name] == run.read(result.folder).summary["last"]["test/top1"]
    assert found["camkd.published"] == 75.25
    links = re.findall(r'<a href="([^"#]+)"', (tmp_path / "compared" / "report.html").read_text())
    assert len(links) == 4 and all((tmp_path / "compared" / link).exists() for link in links)


def test_pages_are_made_anew_to_the_letter(tmp_path):
    make_comparison(tmp_path / "compared")
    pages = sorted(tmp_path.rglob("report.html"))
    before = [path.read_text() for path in pages]
    for path in pages:
        path.unlink()
    said = []
    report([str(tmp_path)], Report(), say=said.append)
    assert [path.read_text() for path in pages] == before and len(pages) == 5
    assert said == [f"{tmp_path / 'compared' / 'report.html'} is made"]
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()], "something was left behind"


def test_a_comparison_of_an_earlier_jkd_has_a_page(tmp_path):
    make_comparison(tmp_path / "compared")
    (tmp_path / "compared" / reopened.FILE).unlink()
    report([str(tmp_path / "compared")], Report())
    assert "aver.top1" in numbers(tmp_path / "compared" / "report.html")


def test_folders_together_are_one_comparison(tmp_path):
    make_comparison(tmp_path / "compared")
    for seed in range(2):
        make_folder(tmp_path / f"alone{seed}", "camkd", seed)
    make_folder(tmp_path / "other", "aver", 0, epochs=4)
    page = tmp_path / "all.html"
    folders = [str(path) for path in sorted(tmp_path.iterdir())]
    report(folders, Report(output=str(page), baseline="camkd (alone0)"))
    found = numbers(page)
    assert {"aver (compared).top1", "camkd (alone0).top1", "aver (other).top1"} <= set(found)
    assert found["camkd (alone0).1.last.test/top1"] and found["camkd (compared).difference"] == 0
    assert "3 epochs, 4 epochs; not the same for all" in page.read_text()
    with pytest.raises(UserError, match="is no row"):
        report(folders, Report(output=str(page), baseline="mmkd"))


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        report([str(tmp_path / "nowhere")], Report())
    with pytest.raises(UserError, match="holds none"):
        report([str(tmp_path)], Report())
    make_folder(tmp_path / "run")
    with pytest.raises(UserError, match="give --output"):
        report([str(tmp_path)], Report(baseline="aver"))
    (tmp_path / "run" / "tested.json").write_text("{")
    with pytest.raises(UserError, match=r"tested\.json is damaged"):
        report([str(tmp_path)], Report())


def test_it_watches_until_all_is_finished(tmp_path, monkeypatch):
    make_folder(tmp_path / "run")
    summary = (tmp_path / "run" / "summary.json").read_text()
    (tmp_path / "run" / "summary.json").unlink()
    pages, looks = [], []

    def sleep(seconds):
        looks.append(seconds)
        pages.append((tmp_path / "run" / "report.html").read_text())
        if len(looks) == 3:  # nothing is new at the first looks
            files.write(tmp_path / "run" / "summary.json", summary)

    monkeypatch.setattr(time, "sleep", sleep)
    report([str(tmp_path / "run")], Report(watch=True))
    assert len(looks) == 3 and all("going on" in page for page in pages)
    assert "finished after" in (tmp_path / "run" / "report.html").read_text()


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 4.0]))
@settings(max_examples=10, deadline=None)
def test_what_is_kept_of_the_answers_agrees_with_the_metrics(seed, scale):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(4, 30, CLASSES)).astype(np.float32)
    edges = softmax(logits, axis=-1).max(-1) * CALIBRATION_BINS
    assume(np.abs(edges - edges.round()).min() > 1e-4)  # where float32 and float64 are not of one mind
    labels = rng.integers(0, CLASSES, 30).astype(np.int32)
    found = examine(logits, labels, ["student", "one", "two", "ensemble"])
    for who, values in zip(found["who"], logits, strict=True):
        metrics = accuracy_metrics(values, labels)
        assert sum(who["right"]) / 30 == pytest.approx(float(metrics["top1"]), abs=1e-6)
        bins = {name: np.array(value) for name, value in who["bins"].items()}
        error = np.abs(bins["right"] - bins["confidence"]).sum() / 30
        assert error == pytest.approx(float(metrics["ece"]), abs=1e-4)
    lost, won = (found["parted"][kind]["images"] for kind in ("lost", "won"))
    student, ensemble = (sum(found["who"][k]["right"]) for k in (0, 3))
    assert lost - won == ensemble - student
    for kind, sides in (("lost", (False, True)), ("won", (True, False))):
        for shown in found["parted"][kind]["shown"]:
            answers = [said for said, _ in shown["said"]]
            assert (answers[0] == shown["label"], answers[-1] == shown["label"]) == sides


@pytest.mark.slow
def test_a_long_comparison_is_small_and_quick(tmp_path):
    make_comparison(tmp_path / "compared", methods=[f"m{k}" for k in range(5)], seeds=2, epochs=240)
    start = time.process_time()
    reopened.write_page(reopened.read(tmp_path / "compared"))
    assert time.process_time() - start < 5
    assert all(path.stat().st_size < 5e6 for path in tmp_path.rglob("report.html"))
