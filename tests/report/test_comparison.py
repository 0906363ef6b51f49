"""The pictures of a comparison: which there are, and what can be read off them."""

import matplotlib
import numpy as np
import pytest
from made_up import make_result
from PIL import Image

from jkd.report import comparison, panel


def make_results(methods, seeds, epochs=3):
    rng = np.random.default_rng(0)
    return [
        make_result(m, s, 0.7 + 0.004 * i + rng.normal(0, 0.004), weights=m.startswith("bomd"), epochs=epochs)
        for s in range(seeds)
        for i, m in enumerate(methods)
    ]


@pytest.mark.parametrize(("methods", "seeds", "epochs"), [(2, 1, 1), (3, 2, 5), (14, 3, 40)])
def test_pictures_are_as_wide_as_a_readme(tmp_path, methods, seeds, epochs):
    names = ["scratch", "aver", *(f"bomd{i}" for i in range(methods - 2))]
    drawn = comparison.draw_all(make_results(names, seeds, epochs), "aver", tmp_path)
    assert drawn == ["accuracy.png", "differences.png"] + ["weights.png"] * (methods > 2)
    for name in drawn:
        with Image.open(tmp_path / name) as image:
            assert image.width == 900
            grey = np.asarray(image.convert("L"))
        assert (grey[:, -3:] == 255).all() and (grey[:, :3] == 255).all(), "something is cut off at a side"


def test_methods_are_labelled_with_their_means(tmp_path, monkeypatch):
    results = [make_result("aver", 0, 0.70), make_result("aver", 1, 0.72), make_result("bomd", 0, 0.80)]
    texts = []
    monkeypatch.setattr(
        matplotlib.figure.Figure,
        "savefig",
        lambda figure, path, **_: texts.extend(
            text.get_text() for axes in figure.axes for text in axes.texts
        ),
    )
    comparison.draw_all(results, "aver", tmp_path)
    assert "aver 71.0%" in texts and "bomd 80.0%" in texts and "+10.00" in texts


def test_a_vector_picture_has_teachers_and_a_mark_where_its_axis_is_cut(tmp_path):
    (tmp_path / "weights.svg").write_text("of an earlier comparison")
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        drawn = comparison.draw_all([make_result("aver", 0, 0.7)], "aver", tmp_path, "svg")
    assert drawn == ["accuracy.svg"] == [path.name for path in tmp_path.iterdir()]
    text = (tmp_path / "accuracy.svg").read_text()
    assert "vgg13-seed0 74.0%" in text and "ensemble 77.0%" in text
    assert 'id="cut"' in text
    from_zero = panel.figure(2).add_subplot()
    panel.accuracy_axis(from_zero, 0.0, 0.5)
    assert not from_zero.lines


def test_a_picture_that_has_nothing_to_show_goes_away(tmp_path):
    (tmp_path / "weights.png").write_bytes(b"of an earlier comparison")
    assert comparison.draw_all([make_result("aver", 0, 0.7)], "aver", tmp_path) == ["accuracy.png"]
    assert not (tmp_path / "weights.png").exists()
    assert comparison.draw_all([], "aver", tmp_path) == []
