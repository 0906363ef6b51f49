import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
from double import double_precision
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads

from jkd.losses.logits import decoupled_kd, kd, kd_by_class, standardise

PUBLISHED = json.loads(Path(__file__).with_name("published.json").read_text())
LABELS = np.random.default_rng(2).integers(0, 7, 6)
T = 4.0

any_logits = arrays(np.float32, (6, 7), elements=st.floats(-1e4, 1e4, width=32))
few = settings(max_examples=40, deadline=None)


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


STUDENT, TEACHERS = 3 * draw(0, 6, 7), 3 * draw(1, 3, 6, 7)


def total(student, teacher, temperature):
    """All that this module defines, in one number."""
    of_standardised = kd(standardise(student), standardise(teacher), temperature)
    target, nontarget = decoupled_kd(student, teacher, LABELS, temperature)
    by_class = kd_by_class(student, teacher, temperature).sum(1)
    return jnp.sum(kd(student, teacher, temperature) + of_standardised + target + nontarget + by_class)


jit_kd, jit_decoupled, jit_standardise = jax.jit(kd), jax.jit(decoupled_kd), jax.jit(standardise)
jit_by_class = jax.jit(kd_by_class)
gradient_of_standardised = jax.jit(jax.grad(lambda logits: jnp.sum(standardise(logits) ** 3)))
value_and_gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))


def test_kd_agrees_with_published_code():
    with double_precision():
        losses = jax.jit(jax.vmap(kd, in_axes=(None, 0, None)))(STUDENT, TEACHERS, T)
        chex.assert_trees_all_close(losses, np.array(PUBLISHED["kd"]), rtol=1e-10)


def test_decoupled_kd_agrees_with_published_code():
    with double_precision():
        each_teacher = jax.jit(jax.vmap(decoupled_kd, in_axes=(None, 0, None, None)))
        losses = each_teacher(STUDENT, TEACHERS, LABELS, T)
        published = np.array(PUBLISHED["decoupled_kd"])
        chex.assert_trees_all_close(losses, (published[:, 0], published[:, 1]), rtol=1e-10)


def test_kd_of_standardised_logits_agrees_with_published_code():
    with double_precision():
        loss = jax.jit(jax.vmap(lambda t: kd(standardise(STUDENT), standardise(t), T)))
        losses = loss(TEACHERS)
        # There 1e-7 is added to the deviation.
        chex.assert_trees_all_close(losses, np.array(PUBLISHED["standardised_kd"]), rtol=1e-6)


@few
@example(np.eye(6, 7, dtype=np.float32) * 1e-24, 1.0, 1.0, list(range(7)))
@given(any_logits, st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.permutations(range(7)))
def test_standardised_logits_know_neither_scale_nor_place_nor_order(logits, scale, place, order):
    with double_precision():
        logits = logits.astype(np.float64)
        found = jit_standardise(logits)
        elsewhere = scale * logits + place
        varied = np.ptp(logits, axis=1) > 1e-3 * np.abs(logits).max()
        varied &= np.ptp(elsewhere, axis=1) > 1e-8 * np.abs(elsewhere).max()  # not lost in the place's digits
        moved = jit_standardise(elsewhere)[:, order]
        chex.assert_trees_all_close(moved[varied], found[varied][:, order], rtol=1e-5, atol=1e-5)
        chex.assert_trees_all_close(found[varied].std(1, ddof=1), np.ones(varied.sum()), rtol=1e-6)
        np.testing.assert_allclose(found.mean(1), 0, atol=1e-6)


@few
@given(any_logits)
def test_standardised_logits_are_finite_with_their_gradients(logits):
    logits = logits.copy()
    logits[0] = logits[0, 0]  # a network that says nothing
    found, gradient = jit_standardise(logits), gradient_of_standardised(logits)
    chex.assert_tree_all_finite((found, gradient))
    chex.assert_trees_all_equal((found[0], gradient[0]), (np.zeros(7, np.float32),) * 2)


@few
@given(any_logits, st.floats(0.5, 20))
def test_a_student_equal_to_its_teacher_has_no_loss(logits, temperature):
    zeros = np.zeros(6, np.float32)
    chex.assert_trees_all_equal(jit_kd(logits, logits, temperature), zeros)
    chex.assert_trees_all_equal(jit_decoupled(logits, logits, LABELS, temperature), (zeros, zeros))


@few
@given(any_logits, any_logits, st.floats(0.5, 20))
def test_large_logits_stay_finite_and_teachers_get_no_gradient(student, teacher, temperature):
    value, (student_gradient, teacher_gradient) = value_and_gradients(student, teacher, temperature)
    chex.assert_tree_all_finite((value, student_gradient))
    chex.assert_trees_all_equal(teacher_gradient, np.zeros_like(teacher))
    assert jit_kd(student, teacher, temperature).min() >= -1e-3 * temperature**2


@few
@given(any_logits, any_logits)
def test_the_classes_make_up_kd(student, teacher):
    student, teacher = student / 1e3, teacher / 1e3
    by_class = jit_by_class(student, teacher, T)
    assert by_class.min() >= -1e-4
    chex.assert_trees_all_close(by_class.sum(1), jit_kd(student, teacher, T), rtol=1e-4, atol=1e-4)


def test_weights_of_classes_do_not_move_the_optimum():
    weights = np.arange(1.0, 8.0)
    gradient = jax.jit(jax.grad(lambda s: jnp.sum(weights * kd_by_class(s, STUDENT, T))))
    chex.assert_trees_all_close(gradient(STUDENT), np.zeros((6, 7), np.float32), atol=1e-5)
    assert np.abs(gradient(TEACHERS[0])).max() > 0.1


@few
@given(any_logits, any_logits)
def test_the_two_parts_make_up_kd(student, teacher):
    student, teacher = student / 1e3, teacher / 1e3
    target, nontarget = jit_decoupled(student, teacher, LABELS, T)
    rest = 1 - jax.nn.softmax(teacher / T)[np.arange(6), LABELS]
    chex.assert_trees_all_close(target + rest * nontarget, jit_kd(student, teacher, T), rtol=1e-4, atol=1e-4)


def test_gradients_with_respect_to_student_and_temperature():
    with double_precision():
        loss = jax.jit(lambda student, temperature: total(student, TEACHERS[0], temperature))
        check_grads(loss, (jnp.asarray(STUDENT), jnp.asarray(T)), order=1)
