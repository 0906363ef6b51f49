import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.test_util import check_grads

from jkd.losses.logits import decoupled_kd, kd

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
    target, nontarget = decoupled_kd(student, teacher, LABELS, temperature)
    return jnp.sum(kd(student, teacher, temperature) + target + nontarget)


jit_kd, jit_decoupled = jax.jit(kd), jax.jit(decoupled_kd)
value_and_gradients = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))


def test_kd_agrees_with_published_code():
    with jax.enable_x64():
        losses = jax.jit(jax.vmap(kd, in_axes=(None, 0, None)))(STUDENT, TEACHERS, T)
        chex.assert_trees_all_close(losses, np.array(PUBLISHED["kd"]), rtol=1e-10)


def test_decoupled_kd_agrees_with_published_code():
    with jax.enable_x64():
        each_teacher = jax.jit(jax.vmap(decoupled_kd, in_axes=(None, 0, None, None)))
        losses = each_teacher(STUDENT, TEACHERS, LABELS, T)
        published = np.array(PUBLISHED["decoupled_kd"])
        chex.assert_trees_all_close(losses, (published[:, 0], published[:, 1]), rtol=1e-10)


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
def test_the_two_parts_make_up_kd(student, teacher):
    student, teacher = student / 1e3, teacher / 1e3
    target, nontarget = jit_decoupled(student, teacher, LABELS, T)
    rest = 1 - jax.nn.softmax(teacher / T)[np.arange(6), LABELS]
    chex.assert_trees_all_close(target + rest * nontarget, jit_kd(student, teacher, T), rtol=1e-4, atol=1e-4)


def test_gradients_with_respect_to_student_and_temperature():
    with jax.enable_x64():
        loss = jax.jit(lambda student, temperature: total(student, TEACHERS[0], temperature))
        check_grads(loss, (jnp.asarray(STUDENT), jnp.asarray(T)), order=1)
