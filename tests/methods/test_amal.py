"""AMAL: each training image has its own weights, which follow what a step on it does to held-out images."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_parts import BATCH, LABELS, STUDENT, TEACHERS, init

from jkd import methods
from jkd.bilevel import hypergradient
from jkd.losses.logits import kd, standardise
from jkd.methods import Batch, Variables
from jkd.models import Outputs

pytestmark = pytest.mark.usefixtures("compiled_quickly")

POSITIONS = jnp.array([7, 2, 9, 4, 0, 5])  # of 10 training images


def batch():
    return Batch(jnp.zeros((BATCH, 8, 8, 3)), LABELS, POSITIONS)


def each(method, images=10):
    start = init(method).upper
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (images, *x.shape)), start)


def value(method, upper, student=STUDENT):
    return jax.jit(method.loss)(Variables(upper=upper), student, TEACHERS, batch(), jnp.zeros(()))


def test_it_begins_as_aver_does():
    aver = methods.create("aver")
    expected = aver.loss(init(aver), STUDENT, TEACHERS, batch(), jnp.zeros(())).value
    method = methods.create("amal")
    chex.assert_trees_all_close(value(method, each(method)).value, expected, rtol=1e-5)


def test_each_image_is_weighed_by_its_own_row():
    rng = np.random.default_rng(0)
    upper = {"ce": rng.uniform(0, 2, 10), "kd": rng.uniform(0, 2, (10, 3))}
    found = value(methods.create("amal"), upper)
    ce = optax.softmax_cross_entropy_with_integer_labels(STUDENT.logits, LABELS)
    divergences = np.stack([kd(STUDENT.logits, t.logits, 4.0) for t in TEACHERS], axis=1)
    expected = np.mean(upper["ce"][POSITIONS] * ce + (upper["kd"][POSITIONS] * divergences).sum(1))
    np.testing.assert_allclose(found.value, expected, rtol=1e-5)
    np.testing.assert_allclose(found.metrics["weight_logits"], upper["kd"][POSITIONS].mean(0), rtol=1e-5)


def test_the_weights_of_the_batch_follow_what_helps_and_stay_in_their_range():
    """The student's logits are its parameters; what is held out wants what the first teacher says."""
    method = methods.create("amal", upper_learning_rate=1e4, largest=1.5)
    level, upper = method.upper_level, each(method)
    wanted = (LABELS + 1) % 5
    teachers = (TEACHERS[0]._replace(logits=20 * jax.nn.one_hot(wanted, 5)), *TEACHERS[1:])
    optimizer = optax.sgd(1.0)

    def inner(logits, upper, state, seen):
        outputs = Outputs(logits, STUDENT.features, STUDENT.embedding)
        return method.loss(Variables(upper=upper), outputs, teachers, seen, jnp.zeros(())).value, state

    def outer(logits, upper, state, seen):
        outputs = Outputs(logits, STUDENT.features, STUDENT.embedding)
        return level.outer_loss(outputs, seen), ()

    find = jax.jit(hypergradient(inner, outer, optimizer))
    gradient = find(
        upper, STUDENT.logits, optimizer.init(STUDENT.logits), (), [batch()], batch()._replace(labels=wanted)
    ).gradient
    seen = np.asarray(POSITIONS)
    others = np.setdiff1d(np.arange(10), seen)
    for rows in gradient.values():
        assert np.abs(rows[seen]).min() > 0 and not rows[others].any()
    assert (gradient["kd"][seen, 0] < 0).all(), "more of the teacher that says what is wanted helps"

    updates, _ = level.optimizer.update(gradient, level.optimizer.init(upper), upper)
    learned = optax.apply_updates(upper, updates)
    chex.assert_trees_all_equal(learned["kd"][others], upper["kd"][others])
    for rows in learned.values():
        assert rows.min() >= 0 and rows.max() <= 1.5 + 1e-6
    assert (learned["kd"][seen, 0] > 1.4).all()


def test_kd_can_be_of_standardised_logits():
    method = methods.create("amal", standardise_logits=True)
    found = value(method, each(method)).metrics["kd"]
    pairs = [kd(standardise(STUDENT.logits), standardise(t.logits), 4.0) for t in TEACHERS]
    np.testing.assert_allclose(found, np.mean(pairs), rtol=1e-5)
