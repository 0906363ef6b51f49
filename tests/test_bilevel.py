"""Every estimator on a quadratic problem with a closed-form answer, and what `hypergradient` promises."""

from itertools import pairwise
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from double import double_precision

from jkd.bilevel import ESTIMATORS, hypergradient
from jkd.errors import UserError

RATE = 0.1


class Quadratic(NamedTuple):
    """min_u ½‖p_n − t‖² + ½ c·u² where p_n is n gradient steps on ½ pᵀAp − pᵀBu."""

    a: jax.Array
    b: jax.Array
    t: jax.Array
    c: jax.Array

    def inner_loss(self, params, upper, state, batch):
        return params @ self.a @ params / 2 - params @ self.b @ upper, state

    def outer_loss(self, params, upper, state, batch):
        return ((params - self.t) ** 2).sum() / 2 + self.c @ upper**2 / 2, params

    def after(self, upper, params, steps):
        """p_n = M^n p_0 + Σ_j M^j η B u with M = I − ηA, and its Jacobian."""
        step = jnp.eye(len(self.t)) - RATE * self.a
        jacobian = sum(jnp.linalg.matrix_power(step, j) for j in range(steps)) @ self.b * RATE
        return jnp.linalg.matrix_power(step, steps) @ params + jacobian @ upper, jacobian

    def exact(self, upper, params, steps):
        end, jacobian = self.after(upper, params, steps)
        return jacobian.T @ (end - self.t) + self.c * upper

    def solution(self, upper):
        return jnp.linalg.solve(self.a, self.b @ upper)

    def exact_at_solution(self, upper):
        return self.b.T @ jnp.linalg.solve(self.a, self.solution(upper) - self.t) + self.c * upper


def quadratic():
    keys = jax.random.split(jax.random.key(0), 6)
    basis, _ = jnp.linalg.qr(jax.random.normal(keys[0], (5, 5)))
    a = basis @ jnp.diag(jnp.linspace(1.0, 4.0, 5)) @ basis.T
    problem = Quadratic(
        a,
        jax.random.normal(keys[1], (5, 3)),
        jax.random.normal(keys[2], (5,)),
        jax.random.normal(keys[3], (3,)),
    )
    return problem, jax.random.normal(keys[4], (3,)), jax.random.normal(keys[5], (5,))


def estimate(problem, upper, params, steps, optimizer=None, **options):
    optimizer = optimizer or optax.sgd(RATE)
    function = hypergradient(problem.inner_loss, problem.outer_loss, optimizer, **options)
    return jax.jit(function)(upper, params, optimizer.init(params), (), [()] * steps, ())


def error(estimated, exact):
    return float(jnp.linalg.norm(estimated - exact) / jnp.linalg.norm(exact))


@pytest.mark.parametrize("options", [{}, {"loop": True}, {"estimator": "reverse"}], ids=str)
@pytest.mark.parametrize("rematerialise", [False, True])
@pytest.mark.parametrize("steps", [1, 4])
def test_exact_estimators_equal_the_closed_form(options, rematerialise, steps):
    with double_precision():
        problem, upper, params = quadratic()
        result = estimate(problem, upper, params, steps, rematerialise=rematerialise, **options)
        end, _ = problem.after(upper, params, steps)
        chex.assert_trees_all_close(result.params, end, rtol=1e-10)
        chex.assert_trees_all_close(result.aux, end, rtol=1e-10)
        chex.assert_trees_all_close(result.value, problem.outer_loss(end, upper, (), ())[0], rtol=1e-10)
        assert error(result.gradient, problem.exact(upper, params, steps)) < 1e-8


def test_truncated_converges_in_the_steps_it_goes_back_through():
    with double_precision():
        problem, upper, params = quadratic()
        steps = 5
        end, _ = problem.after(upper, params, steps)
        exact = problem.exact(upper, params, steps)
        errors = []
        for last in range(1, steps + 1):
            result = estimate(problem, upper, params, steps, estimator="truncated", last=last)
            _, jacobian = problem.after(upper, params, last)
            assert error(result.gradient, jacobian.T @ (end - problem.t) + problem.c * upper) < 1e-8
            errors.append(error(result.gradient, exact))
        assert errors[-1] < 1e-8
        # What is left out shrinks at least as fast as the slowest direction forgets, 1 − 0.1 · 1 per step.
        assert all(after < 0.9 * before for before, after in pairwise(errors))
        default = estimate(problem, upper, params, 3, estimator="truncated").gradient
        two = estimate(problem, upper, params, 3, estimator="truncated", last=2).gradient
        chex.assert_trees_all_equal(default, two)


def test_one_step_is_exact_for_one_step_and_converges_with_the_learning_rate():
    with double_precision():
        problem, upper, params = quadratic()
        one = estimate(problem, upper, params, 1, estimator="one-step")
        assert (
            error(one.gradient, problem.exact(upper, params, 1)) < 1e-8
        )  # of a quadratic, differences are exact
        errors = []
        for rate in (0.04, 0.02, 0.01):
            optimizer = optax.sgd(rate)
            ours, exact = (
                estimate(problem, upper, params, 4, optimizer, estimator=name).gradient - problem.c * upper
                for name in ("one-step", "unrolled")
            )
            errors.append(error(ours, exact))
        assert errors[0] < 0.35
        assert (
            1.8 < errors[0] / errors[1] < 2.4 and 1.8 < errors[1] / errors[2] < 2.4
        )  # first order in the rate


@pytest.mark.parametrize("steps", [1, 3])
def test_first_order_is_the_limit_of_a_small_inner_rate(steps):
    with double_precision():
        problem, upper, params = quadratic()
        direct = problem.c * upper
        limit = estimate(problem, upper, params, steps, estimator="first-order")
        # ∇outer = p − t and −d/du ∇inner = B, in closed form; every step adds the same.
        chex.assert_trees_all_close(
            limit.gradient, direct + steps * problem.b.T @ (params - problem.t), rtol=1e-10
        )
        errors = []
        for rate in (1e-2, 1e-3, 1e-4):
            exact = estimate(problem, upper, params, steps, optax.sgd(rate)).gradient
            errors.append(error((exact - direct) / rate, limit.gradient - direct))
        assert errors[-1] < 1e-2
        assert all(after < 0.2 * before for before, after in pairwise(errors))
        # Momentum changes the length of a step, not its direction.
        momentum = estimate(problem, upper, params, 1, optax.sgd(1e-6, 0.9, nesterov=True)).gradient - direct
        assert error(momentum / 1.9e-6, problem.b.T @ (params - problem.t)) < 1e-4
        # What it returns beside is the outer loss before the steps and their result.
        chex.assert_trees_all_close(limit.value, problem.outer_loss(params, upper, (), ())[0], rtol=1e-10)
        chex.assert_trees_all_close(limit.params, problem.after(upper, params, steps)[0], rtol=1e-10)


def test_one_step_difference_is_of_second_order():
    with double_precision():

        def inner_loss(params, upper, state, batch):
            return jnp.sum(jnp.sin(params * upper) + jnp.exp(params) * upper**2), state

        def outer_loss(params, upper, state, batch):
            return jnp.sum(jnp.cos(params)), ()

        params, upper = jnp.array([0.3, -0.7]), jnp.array([1.1, 0.4])

        def gradient(**options):
            function = hypergradient(inner_loss, outer_loss, optax.adam(RATE), **options)
            return function(upper, params, optax.adam(RATE).init(params), (), [()], ()).gradient

        exact = gradient()
        coarse, fine = (error(gradient(estimator="one-step", epsilon=e), exact) for e in (0.2, 0.1))
        assert 3.5 < coarse / fine < 4.5


@pytest.mark.parametrize("optimizer", [optax.sgd(RATE), optax.sgd(RATE, 0.5)], ids=["sgd", "momentum"])
def test_neumann_series_converges_at_the_solution(optimizer):
    with double_precision():
        problem, upper, _ = quadratic()
        exact = problem.exact_at_solution(upper)
        errors = [
            error(
                estimate(
                    problem, upper, problem.solution(upper), 1, optimizer, estimator="implicit", terms=terms
                ).gradient,
                exact,
            )
            for terms in (3, 10, 40)
        ]
        # (1 − 0.1 · 1)^terms, and faster with momentum.
        assert 0.1 < errors[0] < 1.0 and errors[1] < 0.5 * errors[0] and errors[2] < 0.02


def test_conjugate_gradients_are_exact_at_the_solution_after_as_many_terms_as_dimensions():
    with double_precision():
        problem, upper, _ = quadratic()
        options = {"estimator": "implicit", "solver": "cg"}
        exact = problem.exact_at_solution(upper)
        few, all_of_them = (
            error(
                estimate(problem, upper, problem.solution(upper), 1, terms=terms, **options).gradient, exact
            )
            for terms in (2, 5)
        )
        assert all_of_them < 1e-5 < few
        # Damping is weight decay by another name.
        decayed = problem._replace(a=problem.a + 0.5 * jnp.eye(5))
        damped = estimate(
            problem, upper, decayed.solution(upper), 1, optax.sgd(0.0), terms=9, damping=0.5, **options
        )
        assert error(damped.gradient, decayed.exact_at_solution(upper)) < 1e-5


def test_implicit_error_falls_as_the_inner_problem_converges():
    with double_precision():
        problem, upper, params = quadratic()
        for options in ({"terms": 40}, {"solver": "cg", "terms": 5}):
            errors = [
                error(
                    estimate(problem, upper, params, steps, estimator="implicit", **options).gradient,
                    problem.exact_at_solution(upper),
                )
                for steps in (1, 6, 24)
            ]
            assert errors[0] > 1.5 * errors[1] > 3 * errors[2]
            assert errors[2] < 0.1


def test_implicit_goes_through_every_inner_loss():
    """Where the last loss does not know the upper variables, as in MMKD, their gradient must not vanish."""
    with double_precision():
        problem, upper, _ = quadratic()
        without = Quadratic(jnp.eye(5), jnp.zeros((5, 3)), problem.t, problem.c)
        both = problem._replace(a=problem.a + jnp.eye(5))  # what the two losses have in common, twice
        params = both.solution(upper)
        rate = 1e-3  # alternating steps follow the sum of the losses as the rate goes to 0
        function = hypergradient(
            [problem.inner_loss, without.inner_loss],
            problem.outer_loss,
            optax.sgd(rate),
            estimator="implicit",
            solver="cg",
            terms=10,
        )
        result = function(upper, params, optax.sgd(rate).init(params), (), [(), ()], ())
        assert error(result.gradient, both.exact_at_solution(upper)) < 0.05
        neumann = hypergradient(
            [problem.inner_loss, without.inner_loss],
            problem.outer_loss,
            optax.sgd(0.1),
            estimator="implicit",
            terms=40,
        )
        result = jax.jit(neumann)(upper, params, optax.sgd(0.1).init(params), (), [(), ()], ())
        assert error(result.gradient, both.exact_at_solution(upper)) < 0.25


def test_learning_rate_as_an_upper_variable():
    with double_precision():
        problem, upper, params = quadratic()

        def inner_loss(params, rates, state, batch):
            return problem.inner_loss(params, upper, state, batch)

        def outer_loss(params, rates, state, batch):
            return problem.outer_loss(params, upper, state, batch)

        def optimizer(rates):
            return optax.sgd(jnp.exp(rates["log_rate"]), momentum=rates["momentum"])

        rates = {"log_rate": jnp.log(0.05), "momentum": jnp.array(0.5)}
        opt_state = optimizer(rates).init(params)

        def value(rates):
            function = hypergradient(inner_loss, outer_loss, optimizer)
            return function(rates, params, opt_state, (), [()] * 3, ()).value

        for estimator in ("unrolled", "reverse"):
            function = hypergradient(inner_loss, outer_loss, optimizer, estimator=estimator)
            gradient = function(rates, params, opt_state, (), [()] * 3, ()).gradient
            for name in rates:
                after, before = (value(rates | {name: rates[name] + sign * 1e-5}) for sign in (1, -1))
                chex.assert_trees_all_close(gradient[name], (after - before) / 2e-5, rtol=1e-7)


@pytest.mark.parametrize("options", [*({"estimator": name} for name in ESTIMATORS), {"loop": True}], ids=str)
def test_traced_values_may_be_arguments_or_closed_over(options):
    """jit and vmap around, int leaves in the states, and derivatives of the result with respect to data."""
    with double_precision():
        problem, upper, params = quadratic()
        optimizer = optax.adam(optax.cosine_decay_schedule(RATE, 10))

        def inner_loss(params, upper, state, batch):
            value, _ = problem.inner_loss(params, upper, (), ())
            return value + (batch * params).sum(), {"seen": state["seen"] + 1, "key": state["key"]}

        def result(target, batch):
            function = hypergradient(
                inner_loss,
                lambda params, upper, state, _: (((params - target) ** 2).sum(), state["seen"]),
                optimizer,
                rematerialise=True,
                **options,
            )
            state = {"seen": jnp.array(7), "key": jax.random.key(0)}
            return function(upper, params, optimizer.init(params), state, [batch, 2 * batch], ())

        batches = jnp.linspace(-1, 1, 10).reshape(2, 5)
        many = jax.jit(jax.vmap(result, in_axes=(None, 0)))(problem.t, batches)
        chex.assert_trees_all_close(
            many.gradient, jnp.stack([result(problem.t, batch).gradient for batch in batches]), rtol=1e-6
        )
        steps_seen = 0 if options.get("estimator") == "first-order" else 2  # its aux is that of the start
        chex.assert_trees_all_equal(many.aux, jnp.full(2, 7 + steps_seen))
        step = 1e-4 * jnp.ones(5)
        jacobian = jax.jacfwd(lambda t: result(t, batches[0]).gradient)(problem.t)
        after, before = (result(problem.t + s, batches[0]).gradient for s in (step, -step))
        chex.assert_trees_all_close(jacobian @ (2 * step), after - before, rtol=1e-3, atol=1e-9)


def test_mistakes_are_told_in_one_line():
    problem, upper, params = quadratic()
    optimizer = optax.sgd(RATE)

    def call(inner_loss=problem.inner_loss, outer_loss=problem.outer_loss, batches=((),), **arguments):
        options = {k: arguments.pop(k) for k in list(arguments) if k not in ("upper", "params", "state")}
        given = {"upper": upper, "params": params, "state": ()} | arguments
        function = hypergradient(inner_loss, outer_loss, optimizer, **options)
        return function(given["upper"], given["params"], optimizer.init(params), given["state"], batches, ())

    class Batch(NamedTuple):
        images: int = 0

    mistakes = {
        "Unknown estimator 'unroled' .did you mean 'unrolled'": {"estimator": "unroled"},
        "Unknown option 'last' of the estimator 'reverse': it has none": {"estimator": "reverse", "last": 3},
        "loop=True .* one inner loss": {
            "loop": True,
            "inner_loss": [problem.inner_loss, problem.outer_loss],
            "batches": [(), ()],
        },
        "loop=True .* batches of one structure": {"loop": True, "batches": [jnp.zeros(2), jnp.zeros(3)]},
        "Unknown option 'term' .* give terms, solver, damping": {"estimator": "implicit", "term": 3},
        "Unknown solver 'lu'": {"estimator": "implicit", "solver": "lu"},
        "terms=0": {"estimator": "implicit", "terms": 0},
        "last=3 .* give 1 to 2": {"estimator": "truncated", "last": 3, "batches": [(), ()]},
        "last=0": {"estimator": "truncated", "last": 0},
        "one batch per inner step, not Batch": {"batches": Batch()},
        "at least one": {"batches": []},
        "2 inner losses need as many batches, not 1": {"inner_loss": [problem.inner_loss] * 2},
        r"inner_loss must return \(scalar, new state\), not float32\[\]": {
            "inner_loss": lambda params, upper, state, batch: params.sum()
        },
        r"outer_loss must return \(scalar, aux\), not .*float32\[5\]": {
            "outer_loss": lambda params, upper, state, batch: (params, ())
        },
        "structure, shapes and types": {"inner_loss": lambda p, u, s, b: (p.sum(), {}), "state": {"a": 0.0}},
        r"upper\['k'\] must be float, not int32": {"upper": {"k": jnp.array(3)}},
        "params must be float, not int32": {"params": jnp.arange(5)},
    }
    for message, arguments in mistakes.items():
        with pytest.raises(UserError, match=message) as caught:
            call(**arguments)
        assert "\n" not in str(caught.value)
