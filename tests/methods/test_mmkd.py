import functools
import json
from pathlib import Path
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from double import double_precision
from flax import linen as nn

from jkd.bilevel import hypergradient
from jkd.losses.logits import kd
from jkd.methods.base import Batch, Variables
from jkd.methods.mmkd import mmkd
from jkd.methods.mmkd_weights import Upper, teacher_weights
from jkd.methods.regressors import feature_errors
from jkd.methods.scratch import cross_entropy
from jkd.models import Outputs

REFERENCE = json.loads((Path(__file__).parent / "mmkd_reference.json").read_text())
BATCH, CLASSES = REFERENCE["batch"], REFERENCE["classes"]
# Channels and size of the teachers' maps beside the student's 6 of 4×4: equal, smaller, larger by no integer.
MAPS = ((7, 4), (5, 2), (4, 6))


class Student(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = images
        for i, (channels, stride) in enumerate(((4, 2), (6, 1)), start=1):
            x = nn.Conv(channels, (3, 3), strides=stride, padding=1, name=f"conv{i}")(x)
            x = nn.relu(nn.BatchNorm(use_running_average=False, epsilon=1e-5, name=f"bn{i}")(x))
        embedding = x.mean((1, 2))
        return Outputs(nn.Dense(CLASSES, name="fc")(embedding), (x,), embedding)


def run_student(params, images):
    return Student().apply({"params": params}, images, mutable=["batch_stats"])[0]


class Problem(NamedTuple):
    batch: Batch
    teachers: tuple[Outputs, ...]
    student: dict
    regressors: tuple[dict, ...]
    upper: Upper
    momentum: tuple


def draw(form):
    """The inputs of the reference, in the order and in PyTorch's layouts, in which they were drawn there."""
    rng = np.random.RandomState(REFERENCE["seed"])
    images = rng.standard_normal((BATCH, 3, 8, 8)).transpose(0, 2, 3, 1)
    labels = rng.randint(0, CLASSES, BATCH)
    logits = [2 * rng.standard_normal((BATCH, CLASSES)) for _ in MAPS]
    maps = [np.maximum(0.5 * rng.standard_normal((BATCH, c, h, h)), 0).transpose(0, 2, 3, 1) for c, h in MAPS]
    teachers = tuple(Outputs(t, (f,), f.mean((1, 2))) for t, f in zip(logits, maps, strict=True))

    def weight(shape, value):
        return {2: lambda v: v.T, 4: lambda v: v.transpose(2, 3, 1, 0)}[len(shape)](value.reshape(shape))

    def layer(shape, gain=1.0):
        bound = gain * np.prod(shape[1:]) ** -0.5
        kernel = weight(shape, bound * rng.standard_normal(shape))
        return {"kernel": kernel, "bias": 0.1 * rng.standard_normal(shape[0])}

    def norm(channels):
        return {
            "scale": 1 + 0.1 * rng.standard_normal(channels),
            "bias": 0.1 * rng.standard_normal(channels),
        }

    shapes = [(4, 3, 3, 3), (6, 4, 3, 3)]
    student = {}
    for i, shape in enumerate(shapes, start=1):
        student |= {f"conv{i}": layer(shape), f"bn{i}": norm(shape[0])}
    student["fc"] = layer((CLASSES, 6))

    def regressor_shapes(channels):
        return {"linear": [(channels, 6, 1, 1)], "conv": [(3, 6, 1, 1), (3, 3, 3, 3), (channels, 3, 1, 1)]}[
            form
        ]

    regressors = []
    for channels, _ in MAPS:
        regressors.append({})
        for i, shape in enumerate(regressor_shapes(channels)):
            regressors[-1] |= {f"conv{i}": layer(shape), f"norm{i}": norm(shape[0])}

    def network(width, gain):
        return {"hidden": layer((width // 2, width), gain), "out": layer((len(MAPS), width // 2), gain)}

    count = 1 + len(MAPS)
    upper = Upper(network(CLASSES * count, 1.0), network(BATCH * count, 0.2))

    def buffers(block):
        kernel = block["kernel"] if "kernel" in block else block["scale"]
        torch_shape = kernel.shape[::-1] if kernel.ndim < 4 else [kernel.shape[i] for i in (3, 2, 0, 1)]
        drawn = 0.1 * rng.standard_normal(torch_shape)
        if "scale" in block:
            return {"scale": drawn, "bias": 0.1 * rng.standard_normal(block["bias"].shape)}
        return {"kernel": weight(torch_shape, drawn), "bias": 0.1 * rng.standard_normal(block["bias"].shape)}

    momentum = (
        {name: buffers(block) for name, block in student.items()},
        tuple({name: buffers(block) for name, block in r.items()} for r in regressors),
    )
    return jax.tree.map(
        jnp.asarray, Problem(Batch(images, labels), teachers, student, tuple(regressors), upper, momentum)
    )


def method_of(form, **settings):
    """The published form, unless the settings say otherwise."""
    published = {"weight_inputs": "raw", "teacher_maps": "raw"}
    return mmkd(alpha=REFERENCE["alpha"], beta=REFERENCE["beta"], regressor=form, **(published | settings))


def sgd(momentum, nesterov=False):
    optimizer = optax.chain(
        optax.add_decayed_weights(REFERENCE["weight_decay"]),
        optax.sgd(REFERENCE["learning_rate"], REFERENCE["momentum"], nesterov=nesterov),
    )
    fresh = optimizer.init(momentum)
    return optimizer, jax.tree.unflatten(jax.tree.structure(fresh), jax.tree.leaves(momentum))


def inner_losses(problem, method):
    def inner(loss):
        def run(params, upper, state, _):
            variables = Variables(params[1], (), upper)
            output = run_student(params[0], problem.batch.images)
            return loss(variables, output, problem.teachers, problem.batch, 0.0).value, state

        return run

    return [inner(loss) for loss in method.upper_level.inner_losses]


def hypergradient_of(problem, method, nesterov=False):
    optimizer, opt_state = sgd(problem.momentum, nesterov)

    def outer(params, upper, state, batch):
        return method.upper_level.outer_loss(run_student(params[0], batch.images), batch), {}

    losses = inner_losses(problem, method)
    return hypergradient(losses, outer, optimizer, estimator="unrolled")(
        problem.upper,
        (problem.student, problem.regressors),
        opt_state,
        (),
        [problem.batch] * len(losses),
        problem.batch,
    )


def unrolled(problem, method, nesterov=False):
    """The inner losses and, last, the outer one."""
    losses = inner_losses(problem, method)
    optimizer, opt_state = sgd(problem.momentum, nesterov)
    params, values = (problem.student, problem.regressors), []
    for loss in losses:
        (value, _), gradient = jax.value_and_grad(loss, has_aux=True)(params, problem.upper, (), None)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        values.append(value)
    return jnp.stack([*values, losses[-1](params, problem.upper, (), None)[0]])


# Compiling takes nearly all the time here.
FAST_COMPILATION = {"xla_backend_optimization_level": 0}


def compiled(function, *arguments):
    return jax.jit(function, compiler_options=FAST_COMPILATION)(*arguments)


@pytest.fixture(scope="module", params=["linear", pytest.param("conv", marks=pytest.mark.slow)])
def ours_and_published(request):
    form = request.param

    def compute(problem):
        student = run_student(problem.student, problem.batch.images)
        kds = [kd(student.logits, t.logits, REFERENCE["temperature"]) for t in problem.teachers]
        return {
            "kd": jnp.stack(kds, -1),
            "features": feature_errors(problem.regressors, student, problem.teachers, form).T,
            "weights": teacher_weights(
                problem.upper,
                student,
                problem.teachers,
                problem.batch.labels,
                inputs="raw",
                stop_student=True,
            ),
            "losses": unrolled(problem, method_of(form)),
            "hypergradient": hypergradient_of(problem, method_of(form)).gradient,
        }

    with double_precision():
        return jax.device_get(compiled(compute, draw(form))), REFERENCE["published"][form]


class TestAgreementWithThePublishedComputation:
    def test_divergences_and_feature_errors(self, ours_and_published):
        ours, published = ours_and_published
        np.testing.assert_allclose(ours["kd"], published["kd"], rtol=1e-6)
        np.testing.assert_allclose(ours["features"], published["features"], rtol=1e-6)

    def test_weights(self, ours_and_published):
        ours, published = ours_and_published
        np.testing.assert_allclose(ours["weights"].logits, published["weight_logits"], rtol=1e-6)
        np.testing.assert_allclose(ours["weights"].features, published["weight_features"], rtol=1e-6)

    def test_inner_and_outer_losses(self, ours_and_published):
        ours, published = ours_and_published
        np.testing.assert_allclose(ours["losses"], [*published["inner"], published["outer"]], rtol=1e-6)

    @pytest.mark.parametrize("network", ["logits", "features"])
    @pytest.mark.parametrize("weight", ["hidden_kernel", "hidden_bias", "out_kernel", "out_bias"])
    def test_hypergradients(self, ours_and_published, network, weight):
        ours, published = ours_and_published
        layer, kind = weight.split("_")
        found = getattr(ours["hypergradient"], network)[layer][kind]
        reference = np.array(published[f"hypergradient_{network}"][weight])
        # The smallest entries are differences of larger ones, so that rounding in float64 shows in them.
        np.testing.assert_allclose(found, reference, rtol=1e-6, atol=1e-9 * abs(reference).max())


def test_the_hypergradient_is_that_of_the_steps_taken():
    # Nesterov's, and through the weight networks' student inputs: there finite differences tell the truth.
    with double_precision():
        problem, method = draw("linear"), method_of("linear", stop_student_inputs=False)
        direction = jax.tree.map(lambda x: jnp.cos(jnp.arange(1.0 * x.size)).reshape(x.shape), problem.upper)

        @functools.partial(jax.jit, compiler_options=FAST_COMPILATION)
        def outer(distance):
            upper = jax.tree.map(lambda x, d: x + distance * d, problem.upper, direction)
            return unrolled(problem._replace(upper=upper), method, nesterov=True)[-1]

        gradient = compiled(lambda p: hypergradient_of(p, method, nesterov=True).gradient, problem)
        slope = (outer(1e-5) - outer(-1e-5)) / 2e-5
        np.testing.assert_allclose(optax.tree.vdot(gradient, direction), slope, rtol=1e-4)


@pytest.fixture(scope="module")
def small():
    """The reference's problem in float32, with the student's outputs."""
    with double_precision():
        problem = jax.device_get(draw("linear"))
    problem = jax.tree.map(lambda x: x.astype(np.float32) if x.dtype == np.float64 else x, problem)
    return problem, compiled(run_student, problem.student, problem.batch.images)


def variables_of(problem):
    return Variables(problem.regressors, (), problem.upper)


def loss_of(method, problem, student):
    return method.loss(variables_of(problem), student, problem.teachers, problem.batch, 0.0)


class TestLoss:
    def test_is_the_sum_of_its_terms(self, small):
        loss = compiled(functools.partial(loss_of, method_of("linear")), *small)
        m = loss.metrics
        total = m["ce"] + REFERENCE["alpha"] * m["kd"] + REFERENCE["beta"] * m["features"]
        np.testing.assert_allclose(loss.value, total, rtol=1e-6)
        for kind in ("logits", "features"):
            published = np.array(REFERENCE["published"]["linear"][f"weight_{kind}"])
            np.testing.assert_allclose(m[f"weight_{kind}"], published.mean(0), rtol=1e-4)
            np.testing.assert_allclose(m[f"weight_{kind}_std"], published.std(0), rtol=1e-4)

    def test_stopping_the_student_inputs_makes_the_weights_constants(self, small):
        problem, student = small
        published = REFERENCE["published"]["linear"]

        def with_constant_weights(s):
            kds = jnp.stack([kd(s.logits, t.logits, REFERENCE["temperature"]) for t in problem.teachers], -1)
            errors = feature_errors(problem.regressors, s, problem.teachers, "linear").T
            weighted_kds = REFERENCE["alpha"] * jnp.array(published["weight_logits"]) * kds
            weighted_errors = REFERENCE["beta"] * jnp.array(published["weight_features"]) * errors
            return cross_entropy(s, problem.batch) + (weighted_kds + weighted_errors).sum(-1).mean()

        def gradients(student):
            return [
                jax.grad(lambda s: loss_of(method_of("linear"), problem, s).value)(student),
                jax.grad(with_constant_weights)(student),
                jax.grad(lambda s: loss_of(method_of("linear", stop_student_inputs=False), problem, s).value)(
                    student
                ),
            ]

        stopped, constant, through = compiled(gradients, student)
        chex.assert_trees_all_close(stopped, constant, rtol=1e-3, atol=1e-5)
        assert abs(through.logits - stopped.logits).max() > 1e-3
        assert abs(through.features[0] - stopped.features[0]).max() > 1e-3

    def test_a_map_of_zeros_has_finite_weights_and_gradients(self, small):
        problem, student = small
        dead = student._replace(features=(np.zeros_like(student.features[-1]),))
        method = method_of("linear", weight_inputs="normalised", stop_student_inputs=False)
        gradient = compiled(jax.grad(lambda s: loss_of(method, problem, s).value), dead)
        chex.assert_tree_all_finite(gradient)


@pytest.mark.parametrize("scale", [0.3, 30.0])
def test_normalised_inputs_do_not_see_the_scale_of_a_network(small, scale):
    problem, student = small
    scaled = student._replace(logits=scale * student.logits + 5, features=(scale * student.features[-1],))

    def weights(inputs):
        return [
            teacher_weights(
                problem.upper, s, problem.teachers, problem.batch.labels, inputs=inputs, stop_student=True
            )
            for s in (student, scaled)
        ]

    chex.assert_trees_all_close(*compiled(lambda: weights("normalised")), atol=1e-3)
    before, after = compiled(lambda: weights("raw"))
    assert abs(before.logits - after.logits).max() > 1e-2
    assert abs(before.features - after.features).max() > 1e-2


BY_LABEL = method_of("linear", weight_inputs="label-probability", upper_learning_rate=0.03)


@pytest.fixture(scope="module")
def experts(small):
    """The first is right on every other example, the second on the rest, the third never."""
    problem, student = small
    labels = problem.batch.labels
    right = np.stack([np.arange(BATCH) % 2 == 0, np.arange(BATCH) % 2 == 1, np.zeros(BATCH, bool)])
    said = np.where(right, labels, (labels + 1) % CLASSES)
    teachers = tuple(
        teacher._replace(logits=6 * np.eye(CLASSES, dtype=np.float32)[one])
        for teacher, one in zip(problem.teachers, said, strict=True)
    )
    upper = BY_LABEL.init(jax.random.key(0), student, teachers).upper
    return problem._replace(teachers=teachers, upper=upper), student, right


class TestLabelProbability:
    def weights(self, problem, student):
        return teacher_weights(
            problem.upper,
            student,
            problem.teachers,
            problem.batch.labels,
            inputs="label-probability",
            stop_student=True,
        )

    def test_nothing_else_is_seen(self, experts):
        problem, student, _ = experts
        labels, rows = problem.batch.labels, np.arange(BATCH)
        others = np.stack([(labels + 1) % CLASSES, (labels + 2) % CLASSES])

        def rumoured(teacher):  # the same of the label, something else of other classes and in the maps
            logits = np.array(teacher.logits)
            logits[rows, others] = logits[rows, others[::-1]]
            return teacher._replace(logits=logits, features=(3 * teacher.features[-1],))

        same = problem._replace(teachers=tuple(map(rumoured, problem.teachers)))
        relabelled = problem._replace(batch=problem.batch._replace(labels=others[0]))
        found = compiled(lambda: [self.weights(one, student) for one in (problem, same, relabelled)])
        chex.assert_shape([*found[0]], (BATCH, len(MAPS)))
        for weights in found[0]:
            np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
        chex.assert_trees_all_close(found[0], found[1], rtol=1e-4)
        assert abs(found[0].logits - found[2].logits).max() > 1e-2

    def test_it_learns_who_is_right_about_an_example(self, experts):
        problem, student, right = experts
        optimizer = BY_LABEL.upper_level.optimizer

        def update(_, carry):
            upper, opt_state = carry
            gradient = hypergradient_of(problem._replace(upper=upper), BY_LABEL).gradient
            updates, opt_state = optimizer.update(gradient, opt_state, upper)
            return optax.apply_updates(upper, updates), opt_state

        def learned():
            start = problem.upper, optimizer.init(problem.upper)
            upper, _ = jax.lax.fori_loop(0, 100, update, start)
            return self.weights(problem._replace(upper=upper), student)

        before, after = self.weights(problem, student), compiled(learned)
        share = [np.mean(np.sum(weights.logits * right.T, -1)) for weights in (before, after)]
        assert share[0] < 0.5
        assert share[1] > 0.8


def test_unit_maps_do_not_let_a_teacher_pull_by_its_scale(small):
    problem, student = small
    first, *others = problem.teachers
    louder = first._replace(features=(*first.features[:-1], 5 * first.features[-1]))

    def errors(teacher_maps):
        method = method_of("linear", teacher_maps=teacher_maps, weight_inputs="normalised")
        return [
            loss_of(method, problem._replace(teachers=(teacher, *others)), student).metrics["features"]
            for teacher in (first, louder, first._replace(features=(0 * first.features[-1],)))
        ]

    unit, raw = compiled(lambda: (errors("unit"), errors("raw")))
    np.testing.assert_allclose(unit[1], unit[0], rtol=1e-4)
    assert np.isfinite(unit[2])
    assert raw[1] > 3 * raw[0]


@pytest.mark.parametrize("form", ["linear", "conv"])
def test_init_needs_only_the_shapes_of_the_outputs(form, small):
    problem, student = small
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (student, problem.teachers))
    variables = jax.eval_shape(lambda: method_of(form).init(jax.random.key(0), *shapes))
    reference = jax.eval_shape(lambda: draw(form))
    chex.assert_trees_all_equal_shapes(variables.params, reference.regressors)
    chex.assert_trees_all_equal_shapes(variables.upper, reference.upper)


def test_weight_decay_of_the_upper_level_is_added_to_the_gradient():
    # Adam divides by the gradient's size: where the decay is all of it, the step is the rate towards zero.
    optimizer = mmkd().upper_level.optimizer
    params = jnp.array([3.0, -0.5])
    updates, _ = compiled(lambda: optimizer.update(jnp.zeros(2), optimizer.init(params), params))
    np.testing.assert_allclose(updates, [-1e-2, 1e-2], rtol=1e-3)


def test_unrolls_matching_steps_and_then_one_on_the_cross_entropy(small):
    problem, student = small
    method = method_of("linear", matching_steps=3)
    losses = (*method.upper_level.inner_losses, method.loss)

    def values():
        arguments = (variables_of(problem), student, problem.teachers, problem.batch, 0.0)
        return jnp.stack([loss(*arguments).value for loss in losses]), cross_entropy(student, problem.batch)

    (*matching, last, full), ce = compiled(values)
    np.testing.assert_allclose(last, ce, rtol=1e-6)
    np.testing.assert_allclose(matching, [full - ce] * 3, rtol=1e-5)


def test_weights_can_stay_as_they_were_drawn():
    assert mmkd().upper_level is not None
    assert mmkd(bilevel=False).upper_level is None
