"""The picture of a run: what can be read off it."""

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jkd.errors import UserError
from jkd.report.panel import spread_apart, teacher_label
from jkd.report.picture import draw


def make_records(epochs, teachers=0):
    records = []
    for epoch in range(1, epochs + 1):
        record = {
            "epoch": epoch,
            "test/top1": 1 - 0.9**epoch,
            "test/loss": 1 / epoch,
            "train/loss": 3 / epoch,
        }
        if teachers:
            weights = np.random.default_rng(epoch).dirichlet(np.ones(teachers)).tolist()
            record |= {"train/weight_logits": weights, "train/weight_features": weights}
            record |= {"train/weight_logits_std": [0.1] * teachers}
        records.append({"step": 10 * epoch, **record})
    return records


@pytest.mark.parametrize(("epochs", "teachers"), [(20, 3), (1, 2), (5, 0), (240, 9)])
def test_a_picture_is_as_wide_as_a_readme(tmp_path, epochs, teachers):
    named = [(f"teacher {k}", 0.9) for k in range(teachers)]
    draw(make_records(epochs, teachers), tmp_path / "picture.png", teachers=named)
    with Image.open(tmp_path / "picture.png") as image:
        assert image.format == "PNG"
        assert image.width == 900
        grey = np.asarray(image.convert("L"))
    assert (grey[:, -3:] == 255).all() and (grey[:, :3] == 255).all(), "something is cut off at a side"


def test_lines_are_labelled_with_names_and_accuracies(tmp_path):
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        draw(
            make_records(10, 2),
            tmp_path / "picture.svg",
            teachers=[("vgg13", 0.7461), ("resnet32x4", None)],
            ensemble_top1=0.7654,
            title="BOMD on CIFAR-100",
        )
    text = (tmp_path / "picture.svg").read_text()
    assert "BOMD on CIFAR-100" in text
    assert f"student {1 - 0.9**10:.1%}" in text
    assert "vgg13 74.6%" in text and "ensemble 76.5%" in text
    assert text.count("resnet32x4") == 2, "once in each panel of weights, not among the accuracies"


def test_epochs_that_were_not_tested_are_left_out_and_none_is_a_mistake(tmp_path):
    records = make_records(3)
    draw([{"epoch": 0, "step": 0, "note": "start"}, *records], tmp_path / "picture.png")
    with pytest.raises(UserError, match="no tested epoch"):
        draw([{"epoch": 0, "step": 0}], tmp_path / "picture.png")


@given(st.lists(st.floats(0, 1), min_size=1, max_size=15))
@settings(max_examples=50, deadline=None)
def test_labels_stay_in_order_apart_and_inside(positions):
    positions = sorted(positions)
    spread = spread_apart(positions, gap=0.1)
    gap = min(0.1, 1 / max(len(positions) - 1, 1))
    assert (np.diff(spread) >= gap - 1e-9).all()
    assert spread[0] >= -1e-9 and spread[-1] <= 1 + 1e-9
    if (np.diff(positions) >= 0.1).all():
        np.testing.assert_allclose(spread, positions, atol=1e-9)


def test_a_teacher_read_from_a_path_has_a_label_that_fits():
    assert teacher_label("vgg13@somewhere/far/away/vgg13-seed0-12345678", 1) == "vgg13 (2)"
    assert teacher_label("vgg13-seed0", 1) == "vgg13-seed0"
