"""MKCD: what the deployed student predicts, and what its projectors learn from."""

from functools import cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jkd.methods import Batch, TeacherOutputs, Variables
from jkd.methods.mkcd import Projector, mkcd, temperature_at
from jkd.models import Head, Outputs

CLASSES, BATCH = 3, 6
STUDENT_MAP = (4, 4, 5)
TEACHER_MAPS = ((4, 4, 6), (2, 2, 4))  # of two teachers, one with a smaller map
METHOD = mkcd()


def outputs(rng, shape):
    x = np.maximum(rng.standard_normal((BATCH, *shape)), 0).astype(np.float32)
    embedding = x.mean((1, 2))
    head = Head(
        rng.standard_normal((shape[-1], CLASSES)).astype(np.float32),
        rng.standard_normal(CLASSES).astype(np.float32),
    )
    return Outputs(head(embedding), (x,), embedding), head


def with_map(outputs, last):
    return outputs._replace(features=(*outputs.features[:-1], last))


@cache
def problem():
    rng = np.random.default_rng(0)
    student, _ = outputs(rng, STUDENT_MAP)
    teachers = tuple(TeacherOutputs(*o, head) for o, head in (outputs(rng, shape) for shape in TEACHER_MAPS))
    batch = Batch(np.zeros((BATCH, 8, 8, 3), np.float32), rng.integers(0, CLASSES, BATCH))
    return METHOD.init(jax.random.key(0, impl="rbg"), student, teachers), student, teachers, batch


@cache
def compiled():
    return jax.jit(METHOD.loss), jax.jit(METHOD.predict)


def of(variables, k):
    """The variables of one teacher alone."""
    return Variables(variables.params[k : k + 1], variables.state[k : k + 1])


def test_the_temperature_rises_along_a_half_cosine():
    np.testing.assert_allclose(temperature_at(np.array([0, 0.5, 1]), 1, 4), [1, 2.5, 4], rtol=1e-6)
    assert temperature_at(1 / 4, 1, 4) == pytest.approx(2.5 - 1.5 * 2**-0.5, rel=1e-6)
    variables, *seen = problem()
    loss, _ = compiled()
    for progress, temperature in ((0.0, 1.0), (0.5, 2.5)):
        assert loss(variables, *seen, progress).metrics["temperature"] == pytest.approx(temperature)


@pytest.mark.parametrize("form", ["encoder-decoder", "bottleneck"])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (7, 4)])
def test_a_projection_has_the_size_of_the_students_map(size, form):
    x = jnp.zeros((2, *size, 5))
    projector = Projector(6, form)
    y, _ = jax.eval_shape(lambda: projector.init_with_output(jax.random.key(0), x, train=False))
    chex.assert_shape(y, (2, *size, 6))


def test_the_prediction_is_the_mean_of_the_probabilities_through_the_teachers_heads():
    variables, student, teachers, _ = problem()
    _, predict = compiled()
    heads = tuple(t.head for t in teachers)
    together = predict(variables, student, heads)
    alone = [predict(of(variables, k), student, heads[k : k + 1]) for k in range(2)]
    np.testing.assert_allclose(np.exp(together), np.mean(np.exp(alone), 0), rtol=1e-5)
    projector = Projector(TEACHER_MAPS[0][-1])
    own = {"params": variables.params[0], "batch_stats": variables.state[0]}
    projected = projector.apply(own, student.features[-1], train=False)
    np.testing.assert_allclose(
        alone[0], jax.nn.log_softmax(heads[0](projected.mean((1, 2)))), rtol=1e-4, atol=1e-5
    )


def test_a_prediction_depends_on_its_own_image_alone():
    variables, student, teachers, _ = problem()
    _, predict = compiled()
    heads = tuple(t.head for t in teachers)
    changed = with_map(student, np.concatenate([student.features[-1][:1], 9 * student.features[-1][1:]]))
    whole = predict(variables, student, heads)
    np.testing.assert_allclose(predict(variables, changed, heads)[0], whole[0], rtol=1e-5)
    assert np.abs(predict(variables, changed, heads)[1:] - whole[1:]).max() > 1e-3


def test_training_carries_the_statistics_that_predictions_use():
    variables, *seen = problem()
    loss, _ = compiled()
    state = variables.state
    for _ in range(2):
        state = loss(variables._replace(state=state), *seen, 0.0).state
    chex.assert_trees_all_equal_shapes_and_dtypes(state, variables.state)
    before, after = (s[0]["encode1_norm"]["mean"] for s in (variables.state, state))
    assert np.abs(after - before).max() > 1e-3


def test_the_loss_is_the_sum_of_its_terms_and_learns_by_all_parameters():
    variables, student, teachers, batch = problem()

    def total(params, last):
        moved = with_map(student, last)
        result = METHOD.loss(variables._replace(params=params), moved, teachers, batch, 0.5)
        return result.value, result.metrics

    gradient = jax.jit(jax.value_and_grad(total, argnums=(0, 1), has_aux=True))
    (value, m), (params, last) = gradient(variables.params, student.features[-1])
    expected = m["ce"] + m["kd"] + 10 * m["features"] + 1000 * m["similarity"]
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    chex.assert_tree_all_finite((params, last))
    for leaf in jax.tree.leaves((params, last)):
        assert np.abs(leaf).max() > 0


def test_the_bottleneck_has_no_stride_and_is_deployed_as_it_is_trained():
    method = mkcd(projector="bottleneck")
    _, student, teachers, batch = problem()
    variables = jax.jit(method.init)(jax.random.key(0, impl="rbg"), student, teachers)
    kernels = [variables.params[0][name]["kernel"].shape for name in ("encode1", "encode2", "decode2")]
    assert kernels == [(1, 1, 5, 3), (3, 3, 3, 3), (1, 1, 3, 6)] and "decode1" not in variables.params[0]
    assert np.isfinite(jax.jit(method.loss)(variables, student, teachers, batch, 0.2).value)
    logits = jax.jit(method.predict)(variables, student, tuple(t.head for t in teachers))
    chex.assert_shape(logits, (BATCH, CLASSES))


def test_the_order_of_the_teachers_does_not_matter():
    variables, student, teachers, batch = problem()
    loss, _ = compiled()
    turned = Variables(variables.params[::-1], variables.state[::-1])
    here, there = (
        loss(variables, student, teachers, batch, 0.2),
        loss(turned, student, teachers[::-1], batch, 0.2),
    )
    np.testing.assert_allclose(here.value, there.value, rtol=1e-5)


def test_the_students_own_logits_are_not_used():
    variables, student, teachers, batch = problem()
    loss, _ = compiled()
    other = student._replace(logits=student.logits[::-1] + 5)
    here, there = (loss(variables, s, teachers, batch, 0.2) for s in (student, other))
    chex.assert_trees_all_equal(here, there)
