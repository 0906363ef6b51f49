"""Controls of `distill`: weights that stay, teachers dropped, one scale for all maps, an ensemble."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_parts import LABELS, STUDENT, TEACHERS, init, loss

import jkd
from jkd import methods
from jkd.errors import UserError
from jkd.losses.logits import kd
from jkd.methods.base import Examples
from jkd.methods.scales import phi_s, standardiser

pytestmark = pytest.mark.usefixtures("compiled_quickly")
few = settings(max_examples=20, deadline=None)
NAMES = ("one", "two", "three")


def examples(teachers=TEACHERS):
    return Examples(np.asarray(LABELS), lambda function: [np.asarray(function(t)) for t in teachers])


def prepared(method, teachers=TEACHERS):
    variables = init(method, teachers)
    if method.prepare is None:
        return variables, None
    found = method.prepare(variables.state, NAMES, examples(teachers), examples(teachers))
    chex.assert_trees_all_equal_shapes_and_dtypes(found.state, variables.state)
    return variables._replace(state=found.state), found


def test_the_best_teacher_is_the_one_that_is_right_about_images_held_out():
    right = 5 * jax.nn.one_hot(LABELS, 5)
    teachers = (TEACHERS[0], TEACHERS[1]._replace(logits=right), TEACHERS[2])
    method = methods.create("distill", weighting="best")
    variables, found = prepared(method, teachers)
    assert found.report["weighting"]["best"] == "two" and "two 100.00%" in found.text
    _, metrics, state = loss(method, variables, teachers=teachers)
    chex.assert_trees_all_close(metrics["weight_logits"], jnp.array([0.0, 1.0, 0.0]))
    chex.assert_trees_all_close(metrics["kd"], kd(STUDENT.logits, right, 4.0).mean(), rtol=1e-5)
    chex.assert_trees_all_equal(state, variables.state)


def test_random_weights_are_drawn_from_the_seed_once():
    method = methods.create("distill", weighting="random")

    def weights(seed):
        variables = jax.jit(method.init)(jax.random.key(seed), STUDENT, TEACHERS)
        _, metrics, state = loss(method, variables)
        chex.assert_trees_all_equal(state, variables.state)
        return np.asarray(metrics["weight_logits"])

    assert (weights(0) == weights(0)).all()
    drawn = np.stack([weights(seed) for seed in range(40)])
    np.testing.assert_allclose(drawn.sum(1), 1, rtol=1e-5)
    assert drawn.min() >= 0 and len(np.unique(drawn[:, 0])) == 40
    np.testing.assert_allclose(drawn.mean(0), 1 / 3, atol=0.12)


def test_given_shares_are_in_proportion():
    method = methods.create("distill", weighting="given", shares=(1.0, 0.0, 3.0))
    metrics = loss(method, init(method)).metrics
    chex.assert_trees_all_close(metrics["weight_logits"], jnp.array([0.25, 0, 0.75]))


def test_dropping_draws_anew_at_each_step_and_looks_at_the_whole_loss():
    method = methods.create(
        "distill", weighting="dropping", knowledge=("kd", "attention"), lambda_attention=1e9
    )
    variables = init(method)
    first = loss(method, variables)
    second = loss(method, variables._replace(state=first.state))
    assert (first.metrics["weight_logits"] != second.metrics["weight_logits"]).any()
    alone = methods.create("distill", weighting="dropping", knowledge=("kd",), drop_probability=1.0)
    both = methods.create(
        "distill",
        weighting="dropping",
        knowledge=("kd", "features"),
        lambda_features=1e6,
        drop_probability=1.0,
    )
    furthest = [loss(m, init(m)).metrics["weight_logits"] for m in (alone, both)]
    assert (furthest[0] != furthest[1]).any()


@pytest.mark.parametrize(
    ("given_", "words"),
    [
        ({"weighting": "given"}, "needs --shares"),
        ({"shares": (1.0, 2.0, 3.0)}, "no other takes it"),
        ({"weighting": "given", "shares": (1.0, -1.0, 3.0)}, "none may be negative"),
        ({"weighting": "given", "shares": (0.0, 0.0)}, "one must be above 0"),
        ({"drop_probability": 0.5}, "belongs to --weighting=dropping, not uniform"),
    ],
)
def test_settings_of_another_weighting_are_mistakes(given_, words):
    with pytest.raises(UserError, match=words):
        methods.create("distill", **given_)


def test_an_ensemble_is_one_teacher_with_the_mean_probability():
    method = methods.create("distill", knowledge=("ensemble_kd",), weighting="confidence")
    metrics = loss(method, init(method)).metrics
    mean = jnp.stack([jax.nn.softmax(t.logits) for t in TEACHERS]).mean(0)
    expected = kd(STUDENT.logits, jnp.log(mean), 4.0).mean()
    chex.assert_trees_all_close(metrics["ensemble_kd"], expected, rtol=1e-5)


def test_an_ensemble_averaged_at_the_temperature_would_teach_what_the_mean_kd_does():
    together = 4 * jnp.log(jnp.stack([jax.nn.softmax(t.logits / 4) for t in TEACHERS]).mean(0))
    ensemble = jax.grad(lambda s: kd(s, together, 4.0).sum())(STUDENT.logits)
    mean = jax.grad(lambda s: sum(kd(s, t.logits, 4.0).sum() for t in TEACHERS) / 3)(STUDENT.logits)
    chex.assert_trees_all_close(ensemble, mean, atol=1e-5)


def samples(seed, channels, rank):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((300, rank)) @ rng.standard_normal((rank, channels)) + rng.standard_normal(
        channels
    )


@few
@given(
    st.integers(0, 1000), st.sampled_from([1, 2, 3, 6, 8, 12, 16]), st.integers(1, 16), st.floats(0.01, 100)
)
def test_phi_s_gives_every_channel_the_same_variance_by_a_rotation_and_one_scale(seed, channels, rank, size):
    x = size * samples(seed, channels, rank)
    y = phi_s(x)(x)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(y.var(0, ddof=1), 1, rtol=1e-6)
    lengths = [np.linalg.norm(z - z.mean(0), axis=1) for z in (x, y)]
    np.testing.assert_allclose(lengths[0] / lengths[0].max(), lengths[1] / lengths[1].max(), atol=1e-7)


@few
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_a_standardiser_gives_every_channel_mean_zero_and_deviation_one(seed, size):
    x = size * samples(seed, 5, 5)
    x[:, 3] = 7.0
    y = standardiser(x)(x)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(0), [1, 1, 1, 0, 1], rtol=1e-6, atol=1e-9)


def test_features_that_say_nothing_are_mapped_to_zero():
    x = np.full((10, 4), 3.0)
    for found in (standardiser(x), phi_s(x)):
        np.testing.assert_array_equal(found(x), np.zeros((10, 4)))


@pytest.mark.parametrize("maps", ["unit", "standardised", "phi-s"])
def test_with_teacher_maps_no_teacher_weighs_more_for_its_scale(maps):
    method = methods.create("distill", knowledge=("features",), teacher_maps=maps)
    louder = TEACHERS[0]._replace(features=(*TEACHERS[0].features[:-1], 100 * TEACHERS[0].features[-1]))
    found = []
    for teachers in (TEACHERS, (louder, *TEACHERS[1:])):
        variables, _ = prepared(method, teachers)
        found.append(loss(method, variables, teachers=teachers).metrics["features"])
    chex.assert_trees_all_close(found[1], found[0], rtol=1e-3)


def test_shares_for_other_teachers_than_there_are_is_a_mistake_before_anything_is_read():
    with pytest.raises(UserError, match="for 2 teachers, and there are 3"):
        jkd.plan("distill", weighting="given", shares=[1, 0], teachers=["resnet8"] * 3, dataset="npz:nowhere")
