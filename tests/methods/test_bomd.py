"""BOMD: its loss, what its switches leave out, and whom it learns to listen to."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from jkd import methods
from jkd.bilevel import hypergradient
from jkd.errors import UserError
from jkd.methods import Batch, Variables
from jkd.models import Outputs

BATCH, CLASSES, SIZE = 12, 5, 4


def outputs(key, channels, size=SIZE):
    keys = jax.random.split(key)
    features = jax.nn.relu(jax.random.normal(keys[0], (BATCH, size, size, channels)))
    logits = jax.random.normal(keys[1], (BATCH, CLASSES))
    return Outputs(logits, (features,), features.mean((1, 2)))


def batch():
    return Batch(jnp.zeros((BATCH, 8, 8, 3)), jnp.arange(BATCH) % CLASSES)


@pytest.fixture
def student():
    return outputs(jax.random.key(0), 6)


@pytest.fixture
def teachers():
    # More, fewer and as many channels as the student, at another size too.
    return (outputs(jax.random.key(1), 10), outputs(jax.random.key(2), 4), outputs(jax.random.key(3), 6, 8))


def evaluate(method, variables, student, teachers):
    return method.loss(variables, student, teachers, batch(), jnp.zeros(()))


def test_weights_start_uniform_and_projections_orthonormal(student, teachers):
    method = methods.create("bomd")
    variables = method.init(jax.random.key(0), student, teachers)
    metrics = evaluate(method, variables, student, teachers).metrics
    chex.assert_trees_all_close(metrics["weight_logits"], jnp.full(3, 1 / 3))
    chex.assert_trees_all_close(metrics["weight_features"], jnp.full(3, 1 / 3))
    for projection in variables.params:
        gram = projection.T @ projection
        chex.assert_trees_all_close(gram, jnp.eye(gram.shape[0]), atol=1e-6)


def test_loss_is_the_sum_of_its_terms(student, teachers):
    method = methods.create("bomd", alpha=0.7, beta=2.0)
    variables = method.init(jax.random.key(0), student, teachers)
    value, metrics, _ = evaluate(method, variables, student, teachers)
    expected = metrics["ce"] + 0.7 * metrics["kd"] + 2.0 * metrics["alignment"]
    chex.assert_trees_all_close(value, expected, rtol=1e-6)


@pytest.mark.parametrize("upper_step", ["mirror", "unrolled"])
def test_permuting_the_teachers_leaves_the_loss(student, teachers, upper_step):
    method = methods.create("bomd", upper_step=upper_step)
    variables = method.init(jax.random.key(0), student, teachers)
    upper = {"kd": jnp.asarray([0.3, -1.0, 0.5]), "alignment": jnp.asarray([1.0, 0.0, -0.2])}
    order = (2, 0, 1)
    shuffled = {name: value[jnp.asarray(order)] for name, value in upper.items()}
    if upper_step == "mirror":
        upper = {"kd": upper["kd"], "confidence": jnp.asarray(1.5)}
        shuffled = {"kd": shuffled["kd"], "confidence": upper["confidence"]}
    permuted = Variables(tuple(variables.params[i] for i in order), (), shuffled)
    before = evaluate(method, variables._replace(upper=upper), student, teachers).value
    after = evaluate(method, permuted, student, tuple(teachers[i] for i in order)).value
    chex.assert_trees_all_close(before, after, rtol=1e-6)


def test_features_follow_the_weights_of_logits_and_teach_them_nothing(student, teachers):
    method = methods.create("bomd")
    variables = method.init(jax.random.key(0), student, teachers)
    assert set(variables.upper) == {"kd", "confidence"}
    upper = {"kd": jnp.asarray([0.0, 50.0, 0.0]), "confidence": jnp.zeros(())}
    metrics = evaluate(method, variables._replace(upper=upper), student, teachers).metrics
    for of in ("logits", "features"):
        chex.assert_trees_all_close(metrics[f"weight_{of}"], jnp.asarray([0.0, 1.0, 0.0]), atol=1e-6)

    def gradient(**settings):
        method = methods.create("bomd", **settings)
        return jax.grad(
            lambda upper: evaluate(method, variables._replace(upper=upper), student, teachers).value
        )(variables.upper)

    chex.assert_trees_all_close(gradient(beta=100.0), gradient(beta=0.0), rtol=1e-5)


def test_confidence_turns_the_weights_to_who_gives_the_label_more_probability(student, teachers):
    method = methods.create("bomd")
    variables = method.init(jax.random.key(0), student, teachers)
    right = jax.nn.one_hot(batch().labels, CLASSES)
    # Each is sure of classes of its own, and wrong on the others.
    known = (batch().labels[:, None] == jnp.asarray([0, 1])).any(1)
    experts = (
        teachers[0]._replace(logits=20 * jnp.where(known[:, None], right, jnp.roll(right, 1, 1))),
        teachers[1]._replace(logits=20 * jnp.where(known[:, None], jnp.roll(right, 1, 1), right)),
    )
    upper = {"kd": jnp.zeros(2), "confidence": jnp.asarray(4.0)}
    two = variables._replace(params=variables.params[:2])
    metrics = evaluate(method, two._replace(upper=upper), student, experts).metrics
    shares = metrics["class_weight_logits"] / metrics["class_weight_logits"].sum(0)
    expected = jax.nn.sigmoid(4.0)  # of a difference of 1 in probability
    chex.assert_trees_all_close(shares[0, :2], jnp.full(2, expected), atol=1e-3)
    chex.assert_trees_all_close(shares[1, 2:], jnp.full(CLASSES - 2, expected), atol=1e-3)
    # The factor moves to where listening to who is right would lower the KD of a student that is right.
    sure = student._replace(logits=20 * right)
    at_zero = two._replace(upper={"kd": jnp.zeros(2), "confidence": jnp.zeros(())})

    def value(upper):
        return evaluate(method, at_zero._replace(upper=upper), sure, experts).metrics["kd"]

    assert jax.grad(value)(at_zero.upper)["confidence"] < 0
    without = methods.create("bomd", confidence=False).init(jax.random.key(0), student, teachers)
    assert set(without.upper) == {"kd"}


def test_scaling_features_leaves_the_alignment(student, teachers):
    method = methods.create("bomd")
    variables = method.init(jax.random.key(0), student, teachers)
    larger = student._replace(features=(3 * student.features[0],))
    chex.assert_trees_all_close(
        evaluate(method, variables, student, teachers).metrics["alignment"],
        evaluate(method, variables, larger, teachers).metrics["alignment"],
        rtol=1e-5,
    )


def test_switches_give_the_plain_variants(student, teachers):
    without = methods.create("bomd", alignment=False)
    variables = without.init(jax.random.key(0), student, teachers)
    assert variables.params == ()
    assert "alignment" not in evaluate(without, variables, student, teachers).metrics
    assert methods.create("bomd", bilevel=False).upper_level is None
    assert methods.create("bomd", orthogonal=False).optimizer is None
    assert methods.create("bomd").optimizer is not None
    with pytest.raises(UserError, match="--learn-scales needs --bilevel"):
        methods.create("bomd", learn_scales=True, bilevel=False)
    with pytest.raises(UserError, match="--upper-step=unrolled"):
        methods.create("bomd", inner_steps=2)
    with pytest.raises(UserError, match="--upper-step=mirror"):
        methods.create("bomd", upper_step="unrolled", confidence=False)
    with pytest.raises(UserError, match="--alpha=0 leaves nothing to learn weights from"):
        methods.create("bomd", alpha=0.0)
    assert methods.create("bomd", alpha=0.0, bilevel=False).upper_level is None


def test_plain_bomd_with_kd_alone_is_aver(student, teachers):
    plain = methods.create("bomd", alignment=False, bilevel=False)
    variables = plain.init(jax.random.key(0), student, teachers)
    aver = methods.create("aver")
    chex.assert_trees_all_close(
        evaluate(plain, variables, student, teachers).value,
        evaluate(aver, Variables(), student, teachers).value,
        rtol=1e-6,
    )


def alignment_to(teacher, student):
    method = methods.create("bomd")
    variables = method.init(jax.random.key(0), student, (teacher,))
    return float(evaluate(method, variables, student, (teacher,)).metrics["alignment"])


def test_a_copy_of_the_teacher_is_aligned_from_the_start(teachers):
    for teacher in teachers:
        assert alignment_to(teacher, teacher) == pytest.approx(0, abs=1e-6)


def test_of_a_wider_teacher_what_the_student_cannot_hold_counts_as_missing():
    # Half of each of the teacher's vectors lies in channels that P leaves out: 2 - 2 cos 45°.
    narrow = outputs(jax.random.key(0), 3)
    narrow = narrow._replace(features=(1 + narrow.features[-1],))
    wide = narrow._replace(features=(jnp.concatenate([narrow.features[-1]] * 2, -1),))
    assert alignment_to(wide, narrow) == pytest.approx(2 - 2**0.5, abs=1e-5)
    assert alignment_to(narrow, wide) == pytest.approx(2 - 2**0.5, abs=1e-5)


def test_standardising_teachers_changes_the_alignment_only(student, teachers):
    plain, standardised = (methods.create("bomd", standardise_teachers=s) for s in (False, True))
    variables = plain.init(jax.random.key(0), student, teachers)
    a = evaluate(plain, variables, student, teachers).metrics
    b = evaluate(standardised, variables, student, teachers).metrics
    assert abs(float(a["alignment"] - b["alignment"])) > 1e-3
    chex.assert_trees_all_close(a["kd"], b["kd"])


def learned(method, *, spread, logits, train=True):
    """The upper-level variables after updates; a linear student of teachers with such logits, of the labels.

    The classes' centres lie `spread` apart, each input beside them by 1. Without `train` the student stays
    where it is, at zero.
    """
    key = jax.random.key(0)
    centres = spread * jax.random.normal(key, (CLASSES, 8))
    labels = jnp.arange(BATCH) % CLASSES

    def examples(key):
        return centres[labels] + jax.random.normal(key, (BATCH, 8))

    def answer(logits):
        return Outputs(logits, (logits[:, None, None],), logits)

    teachers = tuple(answer(of(labels)) for of in logits)
    level = method.upper_level
    optimizer = optax.sgd(0.05, 0.9)

    def inner(params, upper, state, images):
        seen = Batch(images, labels)
        variables = Variables((), (), upper)
        return method.loss(variables, answer(images @ params), teachers, seen, 0.0).value, state

    def outer(params, upper, state, images):
        return level.outer_loss(answer(images @ params), Batch(images, labels)), ()

    inner_losses = [inner] * len(level.inner_losses)

    @jax.jit
    def find(upper, params, opt_state, images, held_out):
        seen = [held_out if level.on_held_out else images] * len(inner_losses)
        return hypergradient(inner_losses, outer, optimizer, estimator=level.estimator)(
            upper, params, opt_state, (), seen, held_out
        )

    params = jnp.zeros((8, CLASSES))
    opt_state = optimizer.init(params)
    upper = method.init(key, answer(jnp.zeros((BATCH, CLASSES))), teachers).upper
    upper_state = level.optimizer.init(upper)
    for step in range(30):
        images, held_out = (examples(k) for k in jax.random.split(jax.random.fold_in(key, step)))
        result = find(upper, params, opt_state, images, held_out)
        updates, upper_state = level.optimizer.update(result.gradient, upper_state, upper)
        upper = optax.apply_updates(upper, updates)
        if train:
            params, opt_state = result.params, result.opt_state
    return upper


def right(labels):
    """A teacher that knows every class."""
    return 8 * jax.nn.one_hot(labels, CLASSES)


def shifted(labels):
    """A teacher that takes every class for the next."""
    return 8 * jax.nn.one_hot(labels + 1, CLASSES)


def nothing(labels):
    """A teacher that has learned nothing."""
    return jnp.zeros((len(labels), CLASSES))


@pytest.mark.parametrize(
    "options", [{}, {"upper_step": "unrolled"}, {"upper_step": "unrolled", "inner_steps": 3}]
)
def test_the_upper_level_learns_to_listen_to_the_better_teacher(options):
    upper = learned(methods.create("bomd", alignment=False, **options), spread=2, logits=(right, shifted))
    weights = jax.nn.softmax(upper["kd"])
    assert weights[0] > 0.6 > weights[1]


def test_the_upper_level_learns_to_listen_to_who_knows_the_class():
    def first(labels):
        return jnp.where(labels[:, None] < 3, right(labels), shifted(labels))

    def second(labels):
        return jnp.where(labels[:, None] < 3, shifted(labels), right(labels))

    upper = learned(methods.create("bomd", alignment=False), spread=1, logits=(first, second))
    assert upper["confidence"] > 1.5  # 0.8 of the weight on an example whose label one gives and one does not


def test_a_step_that_overshoots_does_not_turn_the_weights_to_the_teacher_that_pulls_least():
    # Classes that overlap, and a coefficient that makes a step of finite length too long.
    def weight_of_nothing(upper_step):
        method = methods.create("bomd", alignment=False, alpha=30.0, upper_step=upper_step)
        upper = learned(method, spread=0.3, logits=(right, nothing), train=False)
        return float(jax.nn.softmax(upper["kd"])[1])

    assert weight_of_nothing("unrolled") > 0.5
    assert weight_of_nothing("mirror") < 0.2
    assert methods.create("bomd").upper_level.estimator == "first-order"
