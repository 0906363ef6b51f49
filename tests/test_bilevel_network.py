"""Hypergradients of a small network with momentum, weight decay, batch norm and a Stiefel parameter."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from double import double_precision

from jkd import stiefel
from jkd.bilevel import hypergradient

BATCH, INPUTS, HIDDEN, CLASSES, STEPS = 6, 4, 5, 3, 2


class Network(nn.Module):
    """Inputs → orthonormal projection → dense layer with batch norm → classifier."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, train):
        projection = self.param("projection", stiefel.random_point, (INPUTS, 3), self.dtype)
        x = x @ projection
        x = nn.Dense(HIDDEN, use_bias=False, dtype=self.dtype, param_dtype=self.dtype)(x)
        x = jnp.tanh(nn.BatchNorm(not train, momentum=0.7, dtype=self.dtype, param_dtype=self.dtype)(x))
        return nn.Dense(CLASSES, dtype=self.dtype, param_dtype=self.dtype)(x)


def build(dtype):
    """The function that `hypergradient` takes apart: its arguments, and the upper-level variables last."""
    network = Network(dtype)
    keys = jax.random.split(jax.random.key(0), 4)
    batches = [
        {"x": jax.random.normal(key, (BATCH, INPUTS), dtype), "y": jax.random.randint(key, BATCH, 0, CLASSES)}
        for key in jax.random.split(keys[0], STEPS + 2)
    ]
    variables = jax.jit(partial(network.init, train=False))(keys[1], batches[0]["x"])
    params = variables["params"]
    labels = jax.tree_util.tree_map_with_path(
        lambda path, _: "stiefel" if path[-1].key == "projection" else "plain", params
    )
    plain = optax.chain(optax.add_decayed_weights(5e-2), optax.sgd(0.1, momentum=0.9, nesterov=True))
    optimizer = optax.partition({"stiefel": stiefel.sgd(0.1, 0.9), "plain": plain}, labels)
    upper = {
        "example": 0.3 * jax.random.normal(keys[2], (BATCH,), dtype),
        "gain": 1
        + 0.3 * jax.random.normal(keys[3], (INPUTS,), dtype),  # changes the batch statistics as well
    }

    def inner_loss(params, upper, state, batch):
        variables = {"params": params, "batch_stats": state}
        logits, updated = network.apply(
            variables, batch["x"] * upper["gain"], train=True, mutable=["batch_stats"]
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])
        return (jax.nn.sigmoid(upper["example"]) * losses).mean(), updated["batch_stats"]

    def outer_loss(params, upper, state, batch):
        # In evaluation mode, so that the gradient also runs through the batch statistics.
        logits = network.apply({"params": params, "batch_stats": state}, batch["x"], train=False)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["y"])
        return losses.mean() + 1e-2 * (upper["gain"] ** 2).sum(), logits

    @jax.jit
    def warm_up(params, state):
        """Not the first step: momentum buffers that are zero would hide mistakes."""
        gradient, state = jax.grad(inner_loss, has_aux=True)(params, upper, state, batches[0])
        updates, opt_state = optimizer.update(gradient, optimizer.init(params), params)
        return optax.apply_updates(params, updates), opt_state, state

    start = warm_up(params, variables["batch_stats"])

    def run(upper, steps=STEPS, **options):
        function = hypergradient(inner_loss, outer_loss, optimizer, **options)
        return jax.jit(function)(upper, *start, batches[1 : steps + 1], batches[-1])

    return run, upper


def flat(tree):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def relative(a, b):
    return float(jnp.linalg.norm(flat(a) - flat(b)) / jnp.linalg.norm(flat(b)))


@pytest.fixture(scope="module")
def double():
    """The problem in float64 and its hypergradient by central differences of the outer loss."""
    with double_precision():
        run, upper = build(jnp.float64)
        vector, unravel = jax.flatten_util.ravel_pytree(upper)
        size = 1e-5
        around = jax.vmap(lambda v: run(unravel(v)).value)
        moves = size * jnp.eye(len(vector))
        differences = unravel((around(vector + moves) - around(vector - moves)) / (2 * size))
        return run, upper, differences


@pytest.mark.parametrize("options", [{}, {"loop": True}, {"estimator": "reverse"}], ids=str)
@pytest.mark.parametrize("rematerialise", [False, True])
def test_exact_estimators_agree_with_finite_differences(double, options, rematerialise):
    run, upper, differences = double
    with double_precision():
        result = run(upper, rematerialise=rematerialise, **options)
        chex.assert_trees_all_close(result.gradient, differences, rtol=1e-4, atol=1e-8)
        projection = result.params["projection"]
        chex.assert_trees_all_close(projection.T @ projection, jnp.eye(3), atol=1e-12)


@pytest.mark.slow
def test_exact_estimators_agree_with_each_other_in_float32():
    run, upper = build(jnp.float32)
    reference = run(upper, estimator="reverse").gradient
    for options in ({}, {"rematerialise": True}, {"loop": True}, {"loop": True, "rematerialise": True}):
        assert relative(run(upper, **options).gradient, reference) < 1e-5


@pytest.mark.slow
def test_approximations_approach_finite_differences(double):
    run, upper, differences = double
    with double_precision():
        errors = [
            relative(run(upper, estimator="truncated", last=last).gradient, differences)
            for last in range(1, STEPS + 1)
        ]
        assert errors[-1] < 1e-6 < min(errors[:-1])
        first_order = run(upper, estimator="one-step").gradient
        assert 1e-6 < relative(first_order, differences) < 1
        # Through one step, one-step lacks nothing but the finite difference.
        exact = run(upper, steps=1).gradient
        assert relative(run(upper, steps=1, estimator="one-step").gradient, exact) < 1e-4


def test_rematerialisation_stores_no_activations_of_further_steps():
    """Temporary memory per further inner step: activations without it, parameters with it."""
    width, examples = 16, 4096
    activations = 4 * width * examples

    def inner_loss(params, upper, state, batch):
        x = batch
        for w in params:
            x = jnp.tanh(x @ w)
        return (upper * x**2).mean(), state

    def outer_loss(params, upper, state, batch):
        return inner_loss(params, 1.0, state, batch)

    params = [jax.random.normal(key, (width, width)) / 4 for key in jax.random.split(jax.random.key(0), 3)]
    optimizer = optax.sgd(0.1, momentum=0.9)
    batch = jnp.ones((examples, width))

    def temporaries(steps, rematerialise):
        function = hypergradient(inner_loss, outer_loss, optimizer, rematerialise=rematerialise)
        arguments = (jnp.ones(width), params, optimizer.init(params), (), [batch] * steps, batch)
        return jax.jit(function).lower(*arguments).compile().memory_analysis().temp_size_in_bytes

    growth = {on: (temporaries(8, on) - temporaries(4, on)) / 4 for on in (False, True)}
    assert growth[False] > 2 * activations
    assert growth[True] < activations / 4
