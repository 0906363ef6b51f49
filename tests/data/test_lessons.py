"""Poorer lessons: as many labels wrong as asked for, colours and detail gone, test images left alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jkd.data.dataset import assemble
from jkd.data.lessons import Lessons, attended, taught
from jkd.errors import UserError

CLASSES, EACH = 5, 20
GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (CLASSES * EACH, 8, 8, 3)).astype(np.uint8)
LABELS = np.repeat(np.arange(CLASSES), EACH)
DATA = assemble("mine", (IMAGES, LABELS), (IMAGES[:7], LABELS[:7]), num_classes=CLASSES)


def unchanged_but(found, *names):
    """Whether nothing of the data set but what is named differs."""
    whole = ("test_images", "test_labels", "train_images", "train_labels", "mean", "std")
    return all(np.array_equal(getattr(found, n), getattr(DATA, n)) for n in whole if n not in names)


@settings(deadline=None, max_examples=30)
@given(share=st.floats(0.03, 1), seed=st.integers(0, 5))
def test_of_every_class_the_asked_share_is_wrong(share, seed):
    found = taught(DATA, Lessons(wrong_labels=share), seed)
    wrong = found.train_labels != LABELS
    assert [wrong[label == LABELS].sum() for label in range(CLASSES)] == [round(share * EACH)] * CLASSES
    assert found.train_labels.min() >= 0 and found.train_labels.max() < CLASSES
    again = taught(DATA, Lessons(wrong_labels=share), seed)
    assert np.array_equal(found.train_labels, again.train_labels)
    assert unchanged_but(found, "train_labels")


def test_wrong_labels_are_drawn_from_all_others_and_by_the_seed():
    one, other = (taught(DATA, Lessons(wrong_labels=1.0), seed).train_labels for seed in (0, 1))
    assert set(one[LABELS == 2]) == {0, 1, 3, 4}
    assert not np.array_equal(one, other)


def test_an_expert_sees_its_classes_alone():
    seen = attended(LABELS, Lessons(classes=(1, 3)), CLASSES)
    assert set(LABELS[seen]) == {1, 2, 3} and seen.sum() == 3 * EACH
    assert attended(LABELS, Lessons(), CLASSES).all()
    with pytest.raises(UserError, match="there is no class 5; there are 0 to 4"):
        attended(LABELS, Lessons(classes=(3, 5)), CLASSES)


def test_grey_images_are_those_of_pillow():
    found = taught(DATA, Lessons(grey=True), 0)
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in IMAGES])
    assert np.array_equal(found.train_images, np.repeat(expected[..., None], 3, -1))
    assert unchanged_but(found, "train_images")


def test_a_coarse_image_keeps_its_size_and_its_mean_and_loses_its_detail():
    found = taught(DATA, Lessons(resolution=0.25), 0)
    assert found.train_images.shape == IMAGES.shape and unchanged_but(found, "train_images")
    before, after = (x.astype(float).mean((1, 2)) for x in (IMAGES, found.train_images))
    np.testing.assert_allclose(after, before, atol=8)
    differences = [np.abs(np.diff(x.astype(float), axis=1)).mean() for x in (IMAGES, found.train_images)]
    assert differences[1] < 0.2 * differences[0]


def test_what_is_less_is_said_and_nothing_less_is_the_data_set_itself():
    found = taught(DATA, Lessons(wrong_labels=0.4, grey=True), 3)
    assert found.notes == (
        "mine: the training images are taught as wrong-labels=0.4:grey, drawn with seed 3",
    )
    assert taught(DATA, Lessons(), 3) is DATA
    assert str(Lessons(classes=(0, 6), resolution=0.5)) == "classes=0-6:resolution=0.5"
