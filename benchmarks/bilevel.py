"""Time and temporary memory of every hypergradient estimator on one VGG problem, as a table.

The problem: SGD with momentum and weight decay on cross-entropy with a weight per example, random images, a
new batch for each inner step; the hypergradient with respect to the weights. `ratio` is the median over the
rounds of time divided by that of plain reverse mode. A round runs every program in turn, so that other work
on the machine weighs on all of them. `+remat` is with rematerialisation. Programs are compiled side by side,
as many as there are cores, so that the seconds of compilation are upper bounds.
"""

import argparse
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import optax

import jkd.models
from jkd.bilevel import ESTIMATORS, hypergradient

REFERENCE = "reverse"


def problem(model_name, batch_size, steps):
    """The losses, the optimizer and the arguments of a hypergradient."""
    model = jkd.models.create(model_name, 100)
    keys = jax.random.split(jax.random.key(0), steps + 2)
    batches = [
        (jax.random.normal(key, (batch_size, 32, 32, 3)), jax.random.randint(key, (batch_size,), 0, 100))
        for key in keys[1:]
    ]
    variables = jax.jit(model.init)(keys[0], batches[0][0])

    def cross_entropy(params, state, batch):
        images, labels = batch
        outputs, updated = model.apply(
            {"params": params, "batch_stats": state}, images, train=True, mutable=["batch_stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(outputs.logits, labels), updated["batch_stats"]

    def inner_loss(params, upper, state, batch):
        losses, state = cross_entropy(params, state, batch)
        return (jax.nn.sigmoid(upper) * losses).mean(), state

    def outer_loss(params, upper, state, batch):
        return cross_entropy(params, state, batch)[0].mean(), ()

    optimizer = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(0.05, momentum=0.9))
    params = variables["params"]
    arguments = (
        jnp.zeros(batch_size),
        params,
        optimizer.init(params),
        variables["batch_stats"],
        batches[:-1],
        batches[-1],
    )
    return inner_loss, outer_loss, optimizer, arguments


def compiled(setup, name):
    """The program of an estimator and the seconds its compilation took."""
    inner_loss, outer_loss, optimizer, arguments = setup
    estimator, _, rematerialise = name.partition("+")
    function = hypergradient(
        inner_loss, outer_loss, optimizer, estimator=estimator, rematerialise=bool(rematerialise)
    )
    start = time.perf_counter()
    # What an upper step needs; the rest is left to the compiler to drop.
    program = jax.jit(lambda *arguments: function(*arguments)[:2]).lower(*arguments).compile()
    return program, time.perf_counter() - start


def measure(options):
    """The rows of the table, as soon as they are known."""
    for steps in options.steps:
        setup = problem(options.model, options.batch_size, steps)
        # Many steps compile for minutes, each on one core.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            made = list(pool.map(partial(compiled, setup), options.estimators))
        programs = {name: program for name, (program, _) in zip(options.estimators, made, strict=True)}
        compile_seconds = {name: taken for name, (_, taken) in zip(options.estimators, made, strict=True)}
        arguments = setup[-1]
        seconds = {name: [] for name in programs}
        for round_number in range(options.rounds + 1):
            for name, program in programs.items():
                start = time.perf_counter()
                jax.block_until_ready(program(*arguments))
                if round_number > 0:  # the first warms up
                    seconds[name].append(time.perf_counter() - start)
        for name, program in programs.items():
            ratio = statistics.median(
                ours / plain for ours, plain in zip(seconds[name], seconds[REFERENCE], strict=True)
            )
            memory = program.memory_analysis().temp_size_in_bytes / 2**20
            yield (
                f"| {steps} | {name} | {statistics.median(seconds[name]):.3f} | {ratio:.2f} "
                f"| {memory:.0f} | {compile_seconds[name]:.0f} |"
            )


def main():
    names = [*ESTIMATORS, "unrolled+remat", "reverse+remat"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="inner steps")
    parser.add_argument("--estimators", nargs="+", choices=names, default=names, help=f"{REFERENCE} is added")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--model", default="vgg8", help="a name in jkd.models.names()")
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of each program")
    options = parser.parse_args()
    options.estimators = list(dict.fromkeys([REFERENCE, *options.estimators]))
    device = jax.devices()[0]
    print(
        f"{options.model}, batch {options.batch_size}, {options.rounds} rounds; jax {jax.__version__}, optax "
        f"{optax.__version__}, Python {platform.python_version()}, {device.device_kind} ({device.platform})\n"
    )
    print("| inner steps | estimator | time (s) | ratio to reverse | temporaries (MiB) | compile (s) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in measure(options):
        print(row, flush=True)


if __name__ == "__main__":
    main()
