"""What a deployed student costs, and which networks can be deployed on another's head."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jkd import methods, models
from jkd.steps import deployed
from jkd.steps.asking import TeacherNetwork, teacher_outputs
from jkd.steps.deployed import Deployed
from jkd.steps.state import Split


def task_of(method, student, teacher, classes, size):
    """A task with one teacher, and the shapes of what its deployed student may depend on."""
    network, other = models.create(student, classes), models.create(teacher, classes)
    images = jnp.zeros((1, size, size, 3))
    ours, theirs = (jax.eval_shape(n.init, jax.random.key(0), images) for n in (network, other))

    def own():
        seen = teacher_outputs(
            (TeacherNetwork.of(other),), (jax.tree.map(lambda x: jnp.zeros(x.shape), theirs),), images
        )
        student = network.apply(jax.tree.map(lambda x: jnp.zeros(x.shape), ours), images, train=False)
        return method.init(jax.random.key(0), student, seen)

    variables = jax.eval_shape(own)
    head = jax.eval_shape(models.head, theirs)
    return SimpleNamespace(method=method, student=network), Deployed(
        Split(ours["params"], variables.params),
        Split(ours["batch_stats"], variables.state),
        variables.upper,
        (head,),
    )


def size(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def test_a_student_alone_costs_what_is_known_of_its_network():
    # He et al. 2016, table 6: ResNet-20 has 0.27 million parameters; 41 million multiply-adds are generally
    # given for it, padding included.
    task, variables = task_of(methods.create("aver"), "resnet20", "resnet8", 10, 32)
    cost = deployed.cost(task, variables, (32, 32, 3))
    assert cost["parameters"] == size(variables.params.student)
    assert cost["parameters"] == pytest.approx(0.27e6, rel=0.03)
    assert 0.9 * 41e6 < cost["multiply_adds"] < 41e6


def test_what_helps_in_training_alone_costs_nothing():
    task, variables = task_of(methods.create("mmkd"), "resnet8", "resnet14", 10, 8)
    plain, _ = task_of(methods.create("aver"), "resnet8", "resnet14", 10, 8)
    assert size(variables.params.method) > 0
    assert deployed.cost(task, variables, (8, 8, 3)) == deployed.cost(plain, variables, (8, 8, 3))


def test_mkcd_pays_for_projector_and_reused_head_and_not_for_the_students_own():
    task, variables = task_of(methods.create("mkcd"), "resnet8", "wrn_16_2", 10, 16)
    plain, _ = task_of(methods.create("aver"), "resnet8", "wrn_16_2", 10, 16)
    cost, alone = (deployed.cost(t, variables, (16, 16, 3)) for t in (task, plain))
    student, teacher, half = 64, 128, 64
    norms = 2 * (3 * half + teacher)
    projector = student * half + 2 * 9 * half**2 + half * teacher + norms
    heads = (teacher + 1) * 10 - (student + 1) * 10
    assert cost["parameters"] - alone["parameters"] == projector + heads
    # On maps of 4×4, halved to 2×2; XLA counts neither padding nor the zeros between a transposed
    # convolution's inputs, and counts what is not a convolution.
    convolutions = 16 * (student * half + half * teacher) + 4 * 2 * 9 * half**2
    assert 0.5 * convolutions < cost["multiply_adds"] - alone["multiply_adds"] < 1.1 * convolutions


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8"])
def test_a_networks_logits_are_its_head_of_the_average_of_its_last_map(name):
    network = models.create(name, 5)
    images = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0, impl="rbg"), images)
    (seen,) = jax.jit(lambda v: teacher_outputs((TeacherNetwork.of(network),), (v,), images))(variables)
    assert seen.features[-1].min() >= 0  # it comes out of a ReLU
    np.testing.assert_allclose(seen.features[-1].mean((1, 2)), seen.embedding, rtol=1e-6)
    np.testing.assert_allclose(seen.head(seen.embedding), seen.logits, rtol=1e-5, atol=1e-5)
