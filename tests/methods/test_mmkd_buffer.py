import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jkd.errors import UserError
from jkd.methods.asked import Unasked
from jkd.methods.base import Batch, TeacherOutputs
from jkd.methods.mmkd_buffer import hard_buffer
from jkd.models import Absent, Outputs

SIZE, BATCH, CLASSES = 10, 4, 3
MEMORY = hard_buffer(SIZE, "whole")
UPDATE = jax.jit(MEMORY.update)


def batch_of(number):
    """Images that all hold one number, so that they can be told apart; the label goes with it."""
    return Batch(jnp.full((BATCH, 2, 2, 1), float(number)), jnp.full(BATCH, number % CLASSES, jnp.int32))


def teachers_of(number):
    """A teacher whose logits tell of which image they are, and whose map nobody asks for."""
    logits = jnp.full((BATCH, CLASSES), float(number))
    return (
        TeacherOutputs(logits, (jnp.ones((BATCH, 2, 2, 5)),), Absent("embedding", "teacher"), jnp.ones(3)),
    )


KEPT = (TeacherOutputs(teachers_of(0)[0].logits, (Unasked((2, 2, 5), "float32"),), teachers_of(0)[0][2], ()),)


def saying(predictions):
    logits = jax.nn.one_hot(jnp.array(predictions), CLASSES)
    return Outputs(logits, (), logits)


def right(number):
    return saying([number % CLASSES] * BATCH)


def numbers(buffer):
    return np.asarray(buffer.images[..., 0, 0, 0]).ravel()


@pytest.fixture
def full():
    buffer = MEMORY.init(batch_of(0), KEPT)
    for number in (1, 2, 3):
        buffer = UPDATE(jax.random.key(number), buffer, batch_of(number), right(number), teachers_of(number))
    return buffer


def test_the_first_batches_fill_it_whole_whatever_the_student_says(full):
    assert numbers(full).tolist() == [1] * 4 + [2] * 4 + [3] * 2
    assert full.labels.tolist() == [[1] * 4 + [2] * 4 + [0] * 2]
    assert full.filled.tolist() == [SIZE]


@pytest.mark.parametrize("wrong", range(BATCH + 1))
def test_misclassified_images_replace_as_many_distinct_entries(full, wrong):
    label = 7 % CLASSES
    predictions = [label + 1] * wrong + [label] * (BATCH - wrong)
    for seed in range(5):
        after = UPDATE(jax.random.key(seed), full, batch_of(7), saying(predictions), teachers_of(7))
        replaced = numbers(after) == 7
        assert replaced.sum() == wrong
        assert (np.asarray(after.labels).ravel()[replaced] == label).all()
        chex.assert_trees_all_equal(numbers(after)[~replaced], numbers(full)[~replaced])


def test_each_image_keeps_its_label(full):
    images = jnp.arange(10.0, 14.0)[:, None, None, None] * jnp.ones((1, 2, 2, 1))
    labels = jnp.arange(4, dtype=jnp.int32) % CLASSES
    after = UPDATE(
        jax.random.key(0), full, Batch(images, labels), saying((labels + 1) % CLASSES), teachers_of(7)
    )
    new = numbers(after) >= 10
    assert new.sum() == BATCH
    assert ((numbers(after)[new] - 10) % CLASSES == np.asarray(after.labels).ravel()[new]).all()


def test_what_teachers_say_stays_beside_its_image(full):
    after = UPDATE(jax.random.key(0), full, batch_of(7), saying([0] * BATCH), teachers_of(7))
    chex.assert_trees_all_equal(after.teachers[0].logits[..., 0].ravel(), numbers(after))
    batch, (said,) = MEMORY.sample(jax.random.key(1), after)
    chex.assert_trees_all_equal(said.logits[:, 0], batch.images[:, 0, 0, 0])
    assert isinstance(said.features[0], Unasked)


def test_which_entries_are_replaced_is_random(full):
    after = [
        UPDATE(jax.random.key(seed), full, batch_of(7), saying([0] * BATCH), teachers_of(7))
        for seed in range(20)
    ]
    assert (np.stack([numbers(a) == 7 for a in after]).mean(0) > 0).all()


def test_batches_are_drawn_without_replacement(full):
    distinct = full.replace(images=jnp.arange(10.0)[None, :, None, None, None] * jnp.ones((1, 1, 2, 2, 1)))
    draws = [MEMORY.sample(jax.random.key(seed), distinct)[0] for seed in range(20)]
    for batch in draws:
        chex.assert_shape(batch.images, (BATCH, 2, 2, 1))
        assert len(set(batch.images[:, 0, 0, 0].tolist())) == BATCH
    assert set(jnp.stack([b.images[:, 0, 0, 0] for b in draws]).ravel().tolist()) == set(range(10))


def test_what_is_not_filled_yet_is_not_drawn():
    buffer = UPDATE(jax.random.key(0), MEMORY.init(batch_of(0), KEPT), batch_of(5), right(5), teachers_of(5))
    for seed in range(20):
        assert (MEMORY.sample(jax.random.key(seed), buffer)[0].images == 5).all()


def test_an_empty_buffer_gives_finite_images():
    chex.assert_tree_all_finite(MEMORY.sample(jax.random.key(0), MEMORY.init(batch_of(0), KEPT)))


@pytest.mark.parametrize(("size", "parts"), [(8, 4), (10, 2), (9, 1)])
def test_in_parts_the_rows_of_a_batch_replace_their_own_entries_and_are_drawn_for_themselves(size, parts):
    """As many parts as divide buffer and batch; an image's number tells of which part of the batch it is."""
    memory = hard_buffer(size)
    rows, entries = BATCH // parts, size // parts
    images = jnp.repeat(jnp.arange(float(parts)), rows)[:, None, None, None] * jnp.ones((1, 2, 2, 1))

    def batch(number):
        return Batch(images + 10 * number, jnp.zeros(BATCH, jnp.int32))

    update, sample = jax.jit(memory.update), jax.jit(memory.sample)
    buffer = memory.init(batch_of(0), KEPT)
    for number in range(-(-size // BATCH)):
        buffer = update(jax.random.key(number), buffer, batch(number), saying([0] * BATCH), teachers_of(0))
    assert buffer.images.shape[:2] == (parts, entries)
    assert (buffer.filled == entries).all()
    found = []
    for seed in range(30):
        wrong = [1] + [0] * (BATCH - 1)  # of the first part alone
        after = update(jax.random.key(seed), buffer, batch(seed + 5), saying(wrong), teachers_of(0))
        numbers = np.asarray(after.images[..., 0, 0, 0])
        chex.assert_trees_all_equal(numbers % 10, np.arange(parts)[:, None] * np.ones((1, entries)))
        new = numbers == numbers.max()
        assert new.sum() == 1 and new[0].any()
        found.append(int(new[0].argmax()))
        lesson, _ = sample(jax.random.key(seed), after)
        chex.assert_trees_all_equal(lesson.images[:, 0, 0, 0] % 10, images[:, 0, 0, 0])
    assert set(found) == set(range(entries))


def test_a_buffer_in_one_part_is_the_published_one():
    """Of sizes that have no common divisor, parts are the whole."""
    odd, whole = hard_buffer(SIZE + 1), hard_buffer(SIZE + 1, "whole")
    buffers = [one.init(batch_of(0), KEPT) for one in (odd, whole)]
    for number in range(5):
        given = jax.random.key(number), batch_of(number), saying([0] * BATCH), teachers_of(number)
        buffers = [
            jax.jit(one.update)(given[0], buffer, *given[1:])
            for one, buffer in zip((odd, whole), buffers, strict=True)
        ]
    chex.assert_trees_all_equal(*buffers)


def test_a_batch_larger_than_the_buffer_is_a_mistake():
    with pytest.raises(UserError, match=r"--buffer-size=3: it must be at least the batch size, 4"):
        hard_buffer(3).init(batch_of(0), KEPT)
