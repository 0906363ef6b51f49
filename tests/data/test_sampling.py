import chex
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jkd.data import batches, epoch_indices, held_out_indices, stratified_split
from jkd.errors import UserError

LABELS = np.repeat(np.arange(4), [200, 100, 20, 2])


@given(st.integers(0, 9), st.floats(0.001, 0.99), st.lists(st.integers(2, 40), min_size=2, max_size=6))
def test_every_class_is_on_both_sides_of_a_split_and_gives_its_share(seed, fraction, sizes):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    kept, held_out = stratified_split(labels, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(len(labels)))
    for label, size in enumerate(sizes):
        count = np.sum(labels[held_out] == label)
        assert 1 <= count <= size - 1
        assert abs(count - fraction * size) <= 1


def test_a_split_is_drawn_at_random_from_its_seed():
    first, again, other = (stratified_split(LABELS, 0.1, seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert len(first) == 20 + 10 + 2 + 1
    assert not np.array_equal(first, other)
    assert first[:20].max() > 100  # not the first twenty of the class


def test_nothing_is_held_out_at_fraction_zero():
    kept, held_out = stratified_split(np.array([0, 1, 1]), 0, seed=0)
    np.testing.assert_array_equal(kept, [0, 1, 2])
    chex.assert_shape(held_out, (0,))


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_an_impossible_fraction_is_named(fraction):
    with pytest.raises(UserError, match=f"fraction is {fraction}"):
        stratified_split(LABELS, fraction, seed=0)


def test_a_class_with_one_example_cannot_be_split():
    with pytest.raises(UserError, match="class 1 has one"):
        stratified_split(np.array([0, 0, 1]), 0.5, seed=0)


@given(st.integers(0, 2**40), st.integers(0, 500), st.integers(1, 60), st.integers(1, 60))
def test_an_epoch_sees_no_example_twice_and_drops_less_than_a_batch(seed, epoch, examples, batch_size):
    indices = np.arange(100, 100 + max(examples, batch_size), dtype=np.int32)
    drawn = epoch_indices(seed, epoch, indices, batch_size)
    chex.assert_shape(drawn, (len(indices) // batch_size, batch_size))
    chex.assert_type(drawn, np.int32)
    assert len(np.unique(drawn)) == drawn.size
    assert np.isin(drawn, indices).all()
    np.testing.assert_array_equal(drawn, epoch_indices(seed, epoch, indices, batch_size))


def test_epochs_and_seeds_have_orders_of_their_own():
    indices = np.arange(50)
    orders = {epoch_indices(seed, epoch, indices, 10).tobytes() for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_fewer_examples_than_a_batch_are_a_mistake():
    with pytest.raises(UserError, match="batch size is 64 but there are 10"):
        epoch_indices(0, 0, np.arange(10), 64)


def test_a_held_out_batch_repeats_nothing_where_it_need_not():
    indices = np.arange(30, 70)
    batch = held_out_indices(0, 7, indices, 40)
    np.testing.assert_array_equal(np.sort(batch), indices)
    np.testing.assert_array_equal(batch, held_out_indices(0, 7, indices, 40))
    assert not np.array_equal(batch, held_out_indices(0, 8, indices, 40))


def test_a_held_out_slice_smaller_than_a_batch_is_used_evenly():
    batch = held_out_indices(0, 0, np.arange(10), 25)
    counts = np.bincount(batch, minlength=10)
    assert counts.sum() == 25 and counts.min() == 2 and counts.max() == 3


def test_an_empty_held_out_slice_is_a_mistake():
    with pytest.raises(UserError, match="no training examples are held out"):
        held_out_indices(0, 0, np.arange(0), 8)


def test_a_negative_seed_is_a_mistake():
    with pytest.raises(UserError, match="seed is -1"):
        epoch_indices(-1, 0, np.arange(10), 5)


@given(st.integers(0, 100), st.integers(1, 30))
def test_batches_cover_each_example_once(examples, batch_size):
    indices, mask = batches(examples, batch_size)
    chex.assert_equal_shape([indices, mask])
    assert indices.shape[1] == batch_size
    np.testing.assert_array_equal(indices[mask], np.arange(examples))
    assert not indices[~mask].any() and (~mask).sum() < batch_size
