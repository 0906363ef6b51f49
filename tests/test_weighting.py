import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from double import double_precision
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jkd import weighting
from jkd.losses.features import mse
from jkd.losses.logits import kd, kd_by_class
from jkd.minimum_norm import minimum_norm_weights

PUBLISHED = json.loads(Path(__file__).with_name("published_weights.json").read_text())
T = 4.0
LABELS = np.random.default_rng(2).integers(0, 7, 6).astype(np.int32)

# name → (weights of student and teachers, what the weights of an example of three teachers sum to)
WEIGHTINGS = {
    "uniform": (lambda s, t: weighting.uniform(t), 1),
    "ebkd_entropy": (lambda s, t: weighting.ebkd_entropy(t), 2),
    "demkd_entropy": (lambda s, t: weighting.demkd_entropy(t, form="softmax"), 1),
    "demkd_entropy's ratio at 4": (lambda s, t: weighting.demkd_entropy(t, 4.0), 1),
    "confidence": (lambda s, t: weighting.confidence(t, LABELS), 1),
    "gradient_consensus": (lambda s, t: weighting.gradient_consensus(s, t, T), 1),
    "gpac_corrector": (lambda s, t: weighting.gpac_corrector(s, t, LABELS, T), 1),
}
WEIGHTS = {name: jax.jit(weights) for name, (weights, _) in WEIGHTINGS.items()}
each_weighting = pytest.mark.parametrize("name", WEIGHTINGS)

any_logits = st.floats(-1e4, 1e4, width=32)
few = settings(max_examples=20, deadline=None)
divergences = jax.vmap(kd, in_axes=(None, 0, None))


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


STUDENT, TEACHERS = 3 * draw(0, 6, 7), 3 * draw(1, 3, 6, 7)


def weighted_loss(name, student, teachers):
    return jnp.sum(WEIGHTINGS[name][0](student, teachers) * divergences(student, teachers, T))


LOSSES = {
    name: jax.jit(jax.value_and_grad(lambda s, t, name=name: weighted_loss(name, s, t), argnums=(0, 1)))
    for name in WEIGHTINGS
}


def test_ebkd_agrees_with_published_code():
    with double_precision():
        weights = WEIGHTS["ebkd_entropy"](STUDENT, TEACHERS)
        chex.assert_trees_all_close(weights, np.array(PUBLISHED["ebkd_entropy"]), rtol=1e-10)
        loss = jnp.mean(weights * divergences(STUDENT, TEACHERS, T))
        np.testing.assert_allclose(loss, PUBLISHED["ebkd_loss"], rtol=1e-10)


def test_confidence_agrees_with_published_code():
    with double_precision():
        weights = WEIGHTS["confidence"](STUDENT, TEACHERS)
        chex.assert_trees_all_close(weights, np.array(PUBLISHED["confidence"]), rtol=1e-10)
        loss = jnp.mean(weights * divergences(STUDENT, TEACHERS, T))
        np.testing.assert_allclose(loss, PUBLISHED["confidence_loss"], rtol=1e-10)
        maps = np.stack([draw(10 + k, 6, 4, 3, 3).transpose(0, 2, 3, 1) for k in range(6)])
        loss = jnp.mean(weights * jax.vmap(mse)(maps[:3], maps[3:]))
        np.testing.assert_allclose(loss, PUBLISHED["confidence_feature_loss"], rtol=1e-10)


@pytest.mark.parametrize("case", PUBLISHED["gradient_consensus"])
def test_gradient_consensus_agrees_with_published_code(case):
    teachers, cap = int(case.split()[0]), float(case.split()[-1])
    with double_precision():
        consensus = jax.jit(weighting.gradient_consensus, static_argnames="cap")
        weights = consensus(STUDENT, 3 * draw(20 + teachers, teachers, 6, 7), T, cap=cap)
        expected = np.array(PUBLISHED["gradient_consensus"][case])[:, None]
        chex.assert_trees_all_close(weights, np.tile(expected, 6), atol=1e-6)


@each_weighting
@few
@given(arrays(np.float32, (6, 7), elements=any_logits), arrays(np.float32, (3, 6, 7), elements=any_logits))
def test_weights_are_a_share_and_finite_with_gradients(name, student, teachers):
    weights = WEIGHTS[name](student, teachers)
    assert weights.min() >= 0
    chex.assert_trees_all_close(weights.sum(axis=0), np.full(6, WEIGHTINGS[name][1], np.float32), rtol=1e-5)
    chex.assert_tree_all_finite(LOSSES[name](student, teachers))


@each_weighting
@few
@given(st.permutations(range(3)), st.integers(0, 10_000))
def test_permuted_teachers_have_permuted_weights_and_the_same_loss(name, order, seed):
    with double_precision():
        student, teachers = 3 * draw(seed, 6, 7), 3 * draw(seed + 1, 3, 6, 7)
        permuted = teachers[np.array(order)]
        weights = WEIGHTS[name](student, teachers)
        chex.assert_trees_all_close(WEIGHTS[name](student, permuted), weights[np.array(order)], atol=1e-8)
        losses = LOSSES[name](student, permuted)[0], LOSSES[name](student, teachers)[0]
        np.testing.assert_allclose(*losses, rtol=1e-8)


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS if name != "gradient_consensus"])
def test_identical_teachers_are_heard_alike(name):
    weights = WEIGHTS[name](STUDENT, np.tile(TEACHERS[:1], (3, 1, 1)))
    chex.assert_trees_all_close(weights, np.full((3, 6), WEIGHTINGS[name][1] / 3, np.float32), rtol=1e-6)


@each_weighting
def test_a_single_teacher_has_weight_one(name):
    chex.assert_trees_all_close(WEIGHTS[name](STUDENT, TEACHERS[:1]), np.ones((1, 6), np.float32), rtol=1e-6)


@pytest.mark.parametrize("name", ["ebkd_entropy", "demkd_entropy", "demkd_entropy's ratio at 4"])
def test_the_surer_teacher_has_more_weight(name):
    weights = WEIGHTS[name](STUDENT, TEACHERS[0] * np.array([0.5, 1, 2])[:, None, None])
    assert (np.diff(weights, axis=0) > 0).all()


def test_demkd_entropy_is_its_formula():
    p = np.exp(TEACHERS) / np.exp(TEACHERS).sum(-1, keepdims=True)
    h = np.exp(-(p * np.log(p)).sum(-1))
    expected = ((1 - h / h.sum(0)) / 2).astype(np.float32)
    chex.assert_trees_all_close(WEIGHTS["demkd_entropy"](STUDENT, TEACHERS), expected, rtol=1e-5)
    tempered = weighting.demkd_entropy(4 * TEACHERS, 4.0, "softmax")
    chex.assert_trees_all_close(tempered, expected, rtol=1e-5)
    ratio = weighting.demkd_entropy(4 * TEACHERS, 4.0, "ratio")
    chex.assert_trees_all_close(2 * ratio, WEIGHTS["ebkd_entropy"](STUDENT, TEACHERS), rtol=1e-5)


def test_gradient_consensus_is_about_the_gradients_of_kd():
    with double_precision():
        gradient = jax.grad(lambda s, t: kd(s, t, T).mean())
        gradients = jnp.stack([gradient(jnp.asarray(STUDENT), t).mean(axis=0) for t in TEACHERS])
        expected = minimum_norm_weights(gradients, 0.6)[:, None]
        weights = WEIGHTS["gradient_consensus"](STUDENT, TEACHERS)
        chex.assert_trees_all_close(weights, jnp.tile(expected, 6), rtol=1e-8)


def test_gpac_corrector_trusts_near_teachers_and_drops_wrong_ones():
    sure = 4 * np.eye(3)  # row c: a prediction of class c
    # The student is right; wrong with two teachers right; wrong as all teachers are.
    student, labels = sure[[0, 1, 1]], np.array([0, 0, 0])
    teachers = np.stack([sure[[0, 0, 1]], sure[[1, 2, 2]], sure[[2, 0, 2]]])
    weights = weighting.gpac_corrector(student, teachers, labels, 1.0)
    far = np.exp(-kd(sure[:1], sure[1:2], 1.0)[0])
    right = np.array([1, far, far]) / (1 + 2 * far)
    chex.assert_trees_all_close(weights[:, 0], right, rtol=1e-5)
    chex.assert_trees_all_close(weights[:, 1], np.array([0.5, 0, 0.5], np.float32), rtol=1e-5)
    chex.assert_trees_all_close(weights[:, 2], np.full(3, 1 / 3, np.float32), rtol=1e-5)


def test_gpac_class_corrector_weighs_each_class_by_its_part_of_the_divergence():
    labels = STUDENT.argmax(-1)  # so that all teachers are trusted
    weights = weighting.gpac_class_corrector(STUDENT, TEACHERS, labels, T, 2.0)
    costs = 7 * np.stack([kd_by_class(STUDENT, t, T) for t in TEACHERS]) / T**2 / 2
    expected = np.exp(-costs) / np.exp(-costs).sum(0)
    chex.assert_trees_all_close(weights, expected.astype(np.float32), rtol=1e-4)
    wrong = (labels + 1) % 7
    dropped = TEACHERS.argmax(-1) != wrong
    weights = weighting.gpac_class_corrector(STUDENT, TEACHERS, wrong, T)
    assert dropped.any(0).all() and not dropped.all(0).all()
    some = ~dropped.all(0)
    assert not np.asarray(weights)[:, some][dropped[:, some]].any()
    chex.assert_trees_all_close(weights.sum(0), np.ones((6, 7), np.float32), rtol=1e-5)


@pytest.mark.parametrize("name", ["gradient_consensus", "gpac_corrector"])
def test_weights_that_look_at_the_student_pass_no_gradient(name):
    gradient = jax.grad(lambda s: jnp.sum(WEIGHTS[name](s, TEACHERS) * TEACHERS[:, :, 0]))(STUDENT)
    chex.assert_trees_all_equal(gradient, np.zeros_like(gradient))


@few
@given(st.integers(0, 10_000), st.floats(0, 1), st.permutations(range(3)))
def test_dropping_never_drops_the_furthest_teacher(seed, probability, order):
    losses = draw(seed, 3, 6) ** 2
    weights = DROPPING(jax.random.key(seed), losses, probability)
    assert weights[losses.argmax(0), np.arange(6)].min() >= 1 / 3 - 1e-6
    chex.assert_trees_all_close(weights.sum(0), np.ones(6, np.float32), rtol=1e-6)
    alike = np.where(weights > 0, weights, weights.max(0))
    chex.assert_trees_all_close(alike, np.broadcast_to(weights.max(0), (3, 6)), rtol=1e-6)
    for certain in (0, 1):
        ordered = DROPPING(jax.random.key(seed), losses[np.array(order)], certain)
        weights = DROPPING(jax.random.key(seed + 1), losses, certain)
        chex.assert_trees_all_close(ordered, weights[np.array(order)], rtol=1e-6)
        assert (weights > 0).sum() == (18, 6)[certain]


def test_dropping_drops_the_others_as_often_as_it_is_told():
    losses = np.broadcast_to(np.array([[1.0], [3.0], [2.0]]), (3, 4000))
    kept = (DROPPING(jax.random.key(0), losses, 0.3) > 0).mean(1)
    np.testing.assert_allclose(kept, [0.7, 1, 0.7], atol=0.03)


DROPPING = jax.jit(weighting.teacher_dropping)


@pytest.mark.parametrize(("count", "cap"), [(3, 0.6), (5, 1.0), (12, 0.2)])
@few
@given(st.integers(0, 10_000), st.floats(1e-5, 10))
def test_minimum_norm_weights_are_optimal(count, cap, seed, spread):
    with double_precision():
        vectors = draw(seed, 5) + spread * draw(seed + 1, count, 5)
        weights = jitted_minimum(vectors, cap=cap)
        assert weights.min() >= 0 and weights.max() <= cap
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
        # Of a convex problem: no weight may be moved from one vector to another at a gain.
        gain = vectors @ (weights @ vectors)
        best_giver = gain[weights > 1e-12].max()
        best_taker = gain[weights < cap - 1e-12].min()
        assert best_giver - best_taker <= 1e-12 * np.abs(vectors @ vectors.T).max()


jitted_minimum = jax.jit(minimum_norm_weights, static_argnames="cap")


def test_minimum_norm_weights_of_nearly_equal_vectors_in_float32():
    exact = np.array([0.5, 0.3, 0.2])
    directions = np.linalg.qr(draw(0, 6, 6))[0]
    corners = directions[:3] - exact @ directions[:3]  # whose mean by `exact` is zero
    vectors = directions[5] + 1e-2 * corners  # a common part that no weighting changes
    weights = jitted_minimum(vectors.astype(np.float32), cap=0.6)
    chex.assert_trees_all_close(weights, exact.astype(np.float32), atol=1e-2)


def test_minimum_norm_weights_of_identical_vectors():
    for vectors in (np.ones((4, 3)), np.zeros((4, 3))):
        weights = jitted_minimum(vectors, cap=0.6)
        assert weights.min() >= 0 and weights.max() <= 0.6
        np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)


def test_a_cap_that_cannot_be_kept_gives_equal_weights():
    weights = jitted_minimum(draw(0, 4, 3), cap=0.1)
    chex.assert_trees_all_close(weights, np.full(4, 0.25, np.float32), rtol=1e-5)
