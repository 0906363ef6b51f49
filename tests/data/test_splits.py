import chex
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jkd import data
from jkd.data import Data, split_validation
from jkd.errors import UserError


def _dataset(sizes, seed=0, **more):
    """Images of two pixels that tell their number, in a random order of classes."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    number = np.arange(len(labels))
    images = np.stack([number // 256, number % 256], -1).astype(np.uint8)[:, None]
    return data.load(Data(images, labels, images, labels, **more))


def _numbers(images):
    return 256 * images[:, 0, 0, 0].astype(int) + images[:, 0, 1, 0]


@given(
    st.integers(0, 9),
    st.floats(0, 1, exclude_min=True, exclude_max=True),
    st.lists(st.integers(2, 150), min_size=2, max_size=5),
)
def test_the_parts_are_disjoint_complete_and_of_every_class_its_share(seed, fraction, sizes):
    whole = _dataset(sizes, seed)
    split = split_validation(whole, fraction, seed)
    train, validation = _numbers(split.train_images), _numbers(split.validation_images)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(sum(sizes)))
    np.testing.assert_array_equal(split.train_labels, whole.train_labels[train])
    np.testing.assert_array_equal(split.validation_labels, whole.train_labels[validation])
    for label, size in enumerate(sizes):
        count = np.sum(split.validation_labels == label)
        assert 1 <= count <= size - 1 and abs(count - fraction * size) <= 1


def test_all_else_stays_and_the_split_is_said():
    whole = _dataset([30, 20])
    split = split_validation(whole, 0.1, seed=3)
    chex.assert_trees_all_equal(split.test_images, whole.test_images)
    assert (split.mean, split.std, split.name) == (whole.mean, whole.std, whole.name)
    assert split.notes == (
        "data: 10 % of each class's training images, drawn with seed 3, are the validation part",
    )
    assert split.fingerprint != whole.fingerprint


def test_a_split_is_drawn_from_its_seed():
    whole = _dataset([30, 20])
    first, again, other = (split_validation(whole, 0.3, seed).fingerprint for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("fraction", [-0.1, 0, 1, 1.5, float("nan")])
def test_an_impossible_fraction_is_named(fraction):
    with pytest.raises(UserError, match=f"the validation fraction is {fraction}; it must be more than 0"):
        split_validation(_dataset([3, 3]), fraction)


def test_a_class_with_one_image_cannot_be_split():
    with pytest.raises(UserError, match="class 1 has one"):
        split_validation(_dataset([3, 1]), 0.5)


def test_a_validation_part_is_not_drawn_twice():
    once = split_validation(_dataset([5, 5]), 0.2)
    with pytest.raises(UserError, match="data has a validation part already, of 2 images"):
        split_validation(once, 0.2)
