"""Pairs of a knowledge and a weighting: laws of all of them, and the sums that the named methods are."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jkd import methods, weighting
from jkd.errors import UserError
from jkd.flags import settings
from jkd.losses.features import mse
from jkd.losses.logits import kd
from jkd.methods import Batch, TeacherOutputs, Variables
from jkd.methods.distill import distill
from jkd.methods.parts import KNOWLEDGE, WEIGHTING, weight_metrics
from jkd.methods.regressors import feature_errors, init_regressors, regress
from jkd.models import Outputs
from jkd.models.base import Head

pytestmark = pytest.mark.usefixtures("compiled_quickly")

BATCH, CLASSES = 6, 5
LABELS = jnp.arange(BATCH) % CLASSES


def outputs(seed, channels, size=4):
    keys = jax.random.split(jax.random.key(seed), 4)
    maps = [
        jax.nn.relu(jax.random.normal(k, (BATCH, s, s, channels)))
        for k, s in ((keys[0], 2 * size), (keys[1], size), (keys[2], size))
    ]
    logits = 3 * jax.random.normal(keys[3], (BATCH, CLASSES))
    return Outputs(logits, tuple(maps), maps[-1].mean((1, 2)))


def teacher(seed, channels, size=4):
    key = jax.random.key(100 + seed)
    head = Head(jax.random.normal(key, (channels, CLASSES)), jnp.zeros(CLASSES))
    return TeacherOutputs(**outputs(seed, channels, size)._asdict(), head=head)


STUDENT = outputs(0, 6)
TEACHERS = (teacher(1, 8), teacher(2, 4), teacher(3, 6, size=2))


def loss(method, variables, student=STUDENT, teachers=TEACHERS, progress=0.5):
    batch = Batch(jnp.zeros((BATCH, 8, 8, 3)), LABELS)
    return jax.jit(method.loss)(variables, student, teachers, batch, jnp.asarray(progress))


def init(method, teachers=TEACHERS):
    return jax.jit(method.init)(jax.random.key(0), STUDENT, teachers)


ALIKE = tuple(teacher(seed, 8) for seed in (1, 2, 3))  # so that one program serves them in any order
CASES = {name: {} for name in ("camkd", "demkd", "amtmlkd")} | {
    f"distill {name}": {"weighting": name} for name in WEIGHTING
}
CASES["distill everything"] = {"knowledge": tuple(KNOWLEDGE)}
CASES |= {
    "distill best": {"weighting": "best"},
    "distill dropping all": {"weighting": "dropping", "drop_probability": 1.0},
    "distill maps": {"knowledge": ("kd", "features", "alignment"), "teacher_maps": "phi-s"},
}


@pytest.mark.parametrize("case", CASES)
def test_laws_of_a_method(case):
    method = methods.create(case.split()[0], **CASES[case])
    params, state, _ = init(method, ALIKE)

    @jax.jit
    def run(params, logits, teachers):
        def value(params, logits):
            result = loss(method, Variables(params, state), STUDENT._replace(logits=logits), teachers)
            return result.value, result.metrics["weight_logits"]

        return jax.value_and_grad(value, argnums=(0, 1), has_aux=True)(params, logits)

    (value, weights), _ = run(params, STUDENT.logits, ALIKE)
    if case != "amtmlkd":  # whose order of teachers is that of the stages they hint at
        order = (2, 0, 1)
        reordered = {n: tuple(each[k] for k in order) for n, each in dict(params).items()}
        (other, permuted), _ = run(reordered or params, STUDENT.logits, tuple(ALIKE[k] for k in order))
        chex.assert_trees_all_close(other, value, rtol=1e-5)
        chex.assert_trees_all_close(permuted, weights[jnp.array(order)], atol=1e-5)
    for scale in (0.0, 1e4):
        teachers = tuple(t._replace(logits=scale * t.logits) for t in ALIKE)
        chex.assert_tree_all_finite(run(params, scale * STUDENT.logits, teachers))


@pytest.mark.parametrize("name", WEIGHTING)
def test_weights_of_an_example_sum_to_one(name):
    logits = jnp.stack([t.logits for t in TEACHERS])
    weigh = jax.jit(WEIGHTING[name], static_argnums=3)
    weights = weigh(STUDENT.logits, logits, LABELS, 4.0)
    chex.assert_trees_all_close(weights.sum(0), jnp.ones(BATCH), rtol=1e-5)
    alone = weigh(STUDENT.logits, logits[:1], LABELS, 4.0)
    chex.assert_trees_all_close(alone, jnp.ones((1, BATCH)), rtol=1e-5)


# What the weights of an example come to, where the published loss is a mean over teachers, too.
STRENGTH = {"camkd": 1 / 3, "ebkd": 2 / 3}
# The first has none, the second's are no shares, and the others' KD is not of the student's whole logits.
NO_SHARES = ("scratch", "amal", "demkd", "mkcd")


@pytest.mark.parametrize("name", [name for name in methods.METHODS if name not in NO_SHARES])
def test_teachers_that_agree_teach_as_strongly_as_one_whatever_the_method(name):
    method, same = methods.create(name), (ALIKE[0],) * 3
    _, metrics, _ = loss(method, init(method, same), teachers=same)
    alone = kd(STUDENT.logits, ALIKE[0].logits, 4.0).mean()
    chex.assert_trees_all_close(metrics["kd"], STRENGTH.get(name, 1.0) * alone, rtol=1e-4)
    for of in {"weight_logits", "weight_features"} & metrics.keys():
        share = STRENGTH[name] if name == "ebkd" else 1.0  # CA-MKD's are averaged after they are logged
        chex.assert_trees_all_close(metrics[of].sum(), jnp.full((), share), rtol=1e-5)


def test_every_knowledge_has_its_coefficient():
    names = {s.name.removeprefix("lambda_") for s in settings(distill) if s.name.startswith("lambda_")}
    assert names == set(KNOWLEDGE)


def test_a_free_combination_is_the_sum_of_its_terms():
    method = methods.create("distill", knowledge=("kd", "angle"), lambda_kd=0.5, lambda_angle=3.0)
    value, metrics, _ = loss(method, init(method))
    expected = metrics["ce"] + 0.5 * metrics["kd"] + 3 * metrics["angle"]
    chex.assert_trees_all_close(value, expected, rtol=1e-6)


def test_alignment_alone_is_as_strong_as_bomds():
    method = methods.create("distill", knowledge=("alignment",))
    value, metrics, _ = loss(method, init(method))
    chex.assert_trees_all_close(value, metrics["ce"] + 100 * metrics["alignment"], rtol=1e-5)


@pytest.mark.parametrize(
    ("knowledge", "words"), [(("kd", "atention"), "did you mean 'attention'"), ((), "nothing to match")]
)
def test_unknown_knowledge_is_a_mistake(knowledge, words):
    with pytest.raises(UserError, match=words):
        methods.create("distill", knowledge=knowledge)


def test_projections_stay_orthonormal_beside_regressors_that_the_students_optimizer_trains():
    method = methods.create("distill", knowledge=("alignment", "features"))
    params = init(method).params
    students = optax.sgd(0.1)
    transformation = method.optimizer(students, optax.constant_schedule(0.5), 0.9)

    @jax.jit
    def step(params):
        gradient = jax.tree.map(jnp.ones_like, params)
        # Not symmetric: at the identity, where projections start, that would be no direction on the manifold.
        gradient["alignment"] = tuple(jnp.triu(x) for x in gradient["alignment"])
        updates, _ = transformation.update(gradient, transformation.init(params), params)
        return optax.apply_updates(params, updates)

    moved = step(params)
    for before, projection in zip(params["alignment"], moved["alignment"], strict=True):
        chex.assert_trees_all_close(projection.T @ projection, jnp.eye(projection.shape[1]), atol=1e-5)
        assert jnp.abs(projection - before).max() > 1e-3
    chex.assert_trees_all_close(
        moved["features"], jax.tree.map(lambda x: x - 0.1, params["features"]), atol=1e-6
    )


def divergences(temperature=4.0):
    return jnp.stack([kd(STUDENT.logits, t.logits, temperature) for t in TEACHERS])


def test_ebkd_is_the_mean_over_examples_and_teachers():
    method = methods.create("ebkd", alpha=2.0)
    value, metrics, _ = loss(method, init(method))
    logits = jnp.stack([t.logits for t in TEACHERS])
    expected = (weighting.ebkd_entropy(logits) * divergences()).mean()
    chex.assert_trees_all_close(metrics["kd"], expected, rtol=1e-5)
    chex.assert_trees_all_close(value, metrics["ce"] + 2 * expected, rtol=1e-5)


@pytest.mark.parametrize("form", ["linear", "signed", "conv"])
def test_regressors_that_are_one_convolution_are_what_each_is_by_itself(form):
    """Teachers whose maps are of the student's size, among them one of other channels, smaller and larger."""
    teachers = (*TEACHERS, teacher(4, 5, size=8))

    def alone(params):
        last = zip(params, (t.features[-1] for t in teachers), strict=True)
        return jnp.stack([mse(*regress(p, STUDENT.features[-1], theirs, form)) for p, theirs in last])

    @jax.jit
    def both(params, weights):
        def found(errors):
            return errors(params), jax.grad(lambda p: (errors(p) * weights).sum())(params)

        return found(alone), found(lambda p: feature_errors(p, STUDENT, teachers, form))

    drawn = init_regressors(jax.random.key(5), STUDENT, teachers, form)
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(6), x.shape), drawn)
    expected, found = both(params, jnp.arange(4.0 * BATCH).reshape(4, BATCH))
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)


def test_camkd_weighs_features_by_the_teachers_heads_on_the_regressed_student():
    method = methods.create("camkd")
    variables = init(method)
    value, metrics, _ = loss(method, variables)
    pairs = [
        regress(p, STUDENT.features[-1], t.features[-1])
        for p, t in zip(variables.params["features"], TEACHERS, strict=True)
    ]
    costs = np.stack(
        [
            optax.softmax_cross_entropy_with_integer_labels(t.head(m.mean((1, 2))), LABELS)
            for t, (m, _) in zip(TEACHERS, pairs, strict=True)
        ]
    )
    weights = (1 - np.exp(costs) / np.exp(costs).sum(0)) / 2
    expected = (weights * np.stack([mse(*pair) for pair in pairs])).mean()
    chex.assert_trees_all_close(metrics["features"], expected, rtol=1e-4)
    chex.assert_trees_all_close(metrics["weight_features"], weights.mean(1), rtol=1e-4)
    chex.assert_trees_all_close(value, metrics["ce"] + metrics["kd"] + 50 * metrics["features"], rtol=1e-5)


@pytest.mark.parametrize(
    "name", [n for n in methods.METHODS if n not in ("scratch", "fitnet", "ebkd", "amal")]
)
def test_kd_of_standardised_logits_does_not_see_how_far_they_range(name):
    method = methods.create(name, standardise_logits=True)
    same = (ALIKE[0],) * 3  # so that weights, which see the logits as they are, do not matter
    variables = jax.jit(method.init)(jax.random.key(0), STUDENT, same)

    def terms(teachers):
        metrics = loss(method, variables, teachers=teachers).metrics
        return {n: v for n, v in metrics.items() if n in ("kd", "target_kd", "nontarget_kd")}

    found = terms(same)
    assert found and all(value > 0 for value in found.values())
    further = tuple(t._replace(logits=5 * t.logits + 1) for t in same)
    chex.assert_trees_all_close(terms(further), found, rtol=1e-4)


def test_demkds_decoupled_kd_warms_up_over_20_of_240_epochs():
    method = methods.create("demkd", alpha=2.0, beta=6.0)
    variables, batch = init(method), Batch(jnp.zeros((BATCH, 8, 8, 3)), LABELS)
    run = jax.jit(lambda progress: method.loss(variables, STUDENT, TEACHERS, batch, progress))
    for progress, strength in ((0.0, 0), (1 / 24, 0.5), (1 / 12, 1), (0.9, 1)):
        value, m, _ = run(progress)
        kd = 2 * m["target_kd"] + 6 * m["nontarget_kd"]
        chex.assert_trees_all_close(value, m["ce"] + strength * kd + 30 * m["features"], rtol=1e-3)


def test_demkds_weights_are_of_the_entropies_asked_for():
    logits = jnp.stack([t.logits for t in TEACHERS])
    for temperature, form in ((1.0, "softmax"), (3.0, "ratio")):
        method = methods.create("demkd", gamma=0.0, warmup=0.0, entropy_temperature=temperature, weights=form)
        expected = weighting.demkd_entropy(logits, temperature, form).mean(1)
        found = loss(method, init(method), progress=0.0).metrics["weight_logits"]
        chex.assert_trees_all_close(found, expected, rtol=1e-5)


class TestAmtmlkd:
    @staticmethod
    def problem():
        method = methods.create("amtmlkd", temperature=2.0)
        return method, init(method)

    def test_starts_with_the_mean_of_the_teachers_predictions(self):
        method, variables = self.problem()
        metrics = loss(method, variables).metrics
        mixture = jnp.log(jnp.stack([jax.nn.softmax(t.logits / 2) for t in TEACHERS]).mean(0))
        expected = kd(STUDENT.logits, 2 * mixture, 2.0).mean()
        chex.assert_trees_all_close(metrics["kd"], expected, rtol=1e-5)
        chex.assert_trees_all_close(metrics["weight_logits"], jnp.full(3, 1 / 3), rtol=1e-5)

    def test_the_latent_vectors_learn_whom_the_student_can_follow(self):
        method, variables = self.problem()
        easy = (TEACHERS[0]._replace(logits=STUDENT.logits), *TEACHERS[1:])

        def kd_of(latent):
            params = variables.params | {"latent": latent}
            result = loss(method, Variables(params), teachers=easy)
            return result.metrics["kd"], result.metrics["weight_logits"]

        latent = variables.params["latent"]
        gradient, _ = jax.grad(kd_of, has_aux=True)(latent)
        weights = kd_of(latent - 0.1 * gradient)[1]
        assert weights[0] > 1 / 3 > weights[1:].max()

    def test_the_loss_is_the_sum_of_its_terms_with_the_regularisation(self):
        method, variables = self.problem()
        value, m, _ = loss(method, variables)
        chex.assert_trees_all_close(m["latent"], 6.0, rtol=1e-6)  # ‖θ‖² + ‖W‖² with θ zeros and W six ones
        terms = m["ce"] + m["kd"] + 10 * m["features"] + m["angle"] + m["distance"]
        chex.assert_trees_all_close(value, terms + 0.1 * 6, rtol=1e-6)
        assert m["angle"] > 0 and m["distance"] > 0

    def test_the_student_gets_no_gradient_through_the_weights(self):
        method, variables = self.problem()
        params = variables.params | {"latent": jnp.ones((3, 6)) * jnp.arange(3)[:, None]}

        def kd_of(embedding):
            return loss(method, Variables(params), STUDENT._replace(embedding=embedding)).metrics["kd"]

        chex.assert_trees_all_close(jax.grad(kd_of)(STUDENT.embedding), jnp.zeros((BATCH, 6)))

    def test_each_teacher_hints_at_a_stage_of_its_own(self):
        method, variables = self.problem()

        def hints(student):
            return loss(method, variables, student, TEACHERS[:2]).metrics["features"]

        variables = init(method, TEACHERS[:2])
        stem, *stages = jax.grad(hints)(STUDENT).features
        assert not stem.any() and all(stage.any() for stage in stages)


def test_a_coefficient_of_what_is_not_matched_is_a_mistake():
    with pytest.raises(UserError, match="has nothing to scale: --knowledge=kd does not name angle"):
        methods.create("distill", knowledge=("kd",), lambda_angle=3.0)


@pytest.mark.parametrize("teachers", [1, 2, 4])
def test_weights_are_logged_by_class(teachers):
    generator = np.random.default_rng(teachers)
    labels = generator.integers(0, 5, 12)
    weights = generator.dirichlet(np.ones(teachers), 12).T.astype(np.float32)
    metrics = weight_metrics("logits", jnp.asarray(weights), jnp.asarray(labels), 6)
    by_class = metrics["class_weight_logits"]
    chex.assert_trees_all_close(by_class.sum(1), metrics["weight_logits"], atol=1e-6)
    for label in set(labels):
        mean = weights[:, labels == label].mean(1)
        chex.assert_trees_all_close(by_class[:, label] / by_class[:, label].sum(), mean, atol=1e-5)
    assert not by_class[:, 5].any(), "no example is of that class"
