"""What a call of many steps is as a program: nothing in it waits for the host, and the state is donated.

Lowered for accelerators that are not there, every method; compiled for a TPU that is not there, two of them.
"""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import Mesh
from tiny_steps import BATCH, positions, prepared

from jkd import methods
from jkd.steps.calls import compile_call
from jkd.steps.devices import Devices
from jkd.steps.state import shardings
from jkd.steps.step import lower_update, observe, upper_update

GIVEN = {"mmkd": {"buffer_size": 12}}


def traced(name, devices=None):
    method = methods.create(name, **GIVEN.get(name, {}))
    task, state, teachers, data = prepared(method, 23, 46, devices)
    if devices is not None:
        whole = jax.tree.map(lambda _: devices.whole, (teachers, data))
        state, teachers, data = jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
            (state, teachers, data),
            (shardings(devices, state), *whole),
        )
    call = compile_call(task, 10)
    count = call.take(0, 23)
    return call.trace(state, teachers, data, positions(method, 0, count, call.steps), 0, count)[0], state


def uncounted(text):
    """The conditions of loops that are no comparison of a counter with a constant."""
    conditions = re.findall(r"stablehlo.while\(.*?cond \{(.*?)\} do \{", text, re.DOTALL)
    assert len(conditions) == text.count("stablehlo.while")
    constant = r"\s*(%\S+ = stablehlo.constant dense<\d+> : tensor<i32>\s*)?"
    compared = r"%\S+ = stablehlo.compare\s+LT, %iterArg\S*, %c\S*,.*?\s*"
    counted = constant + compared + r"stablehlo.return %\S+ : tensor<i1>\s*"
    return [condition for condition in conditions if not re.fullmatch(counted, condition)]


# One with an upper level and a retraction, one that solves a small problem of its own.
QUICK = ("bomd", "aekd")
NAMES = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in methods.METHODS]


@pytest.mark.parametrize("name", NAMES)
def test_no_method_asks_the_host_within_a_call(name):
    program, _ = traced(name)
    for platform in ("cuda", "tpu"):
        text = program.lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.case" not in text and "stablehlo.if" not in text
        assert "stablehlo.while" in text and not uncounted(text)


class Accelerators(Devices):
    """What is here, programmed as accelerators are."""

    on_cpu = False


@pytest.mark.slow
def test_rematerialised_steps_are_one_body_on_accelerators_and_the_same_in_numbers(compiled_quickly):
    """MMKD's two losses, its own regressors, momentum: to 1e-5 of what the CPU's program finds."""

    def update(devices, matching_steps):
        method = methods.create("mmkd", buffer_size=12, matching_steps=matching_steps, rematerialise=True)
        task, state, teachers, data = prepared(method, 23, 46, devices)
        raw = jax.tree.map(lambda x: x[:BATCH], data)
        seen = jax.jit(partial(observe, task))(state, teachers, raw, None)
        for _ in range(2):  # fills the buffer, and the momentum
            state, _ = jax.jit(partial(lower_update, task))(state, seen)
        program = jax.jit(partial(upper_update, task)).lower(state, seen)
        return program.as_text().count("stablehlo.convolution"), program, state, seen

    convolutions, program, *seen = update(None, 2)
    in_loop, loop, *_ = update(Accelerators.all(), 2)
    assert in_loop < convolutions
    assert update(Accelerators.all(), 4)[0] == in_loop
    expected, found = program.compile()(*seen), loop.compile()(*seen)
    unchanged = jax.tree.leaves(jax.tree.map(jnp.array_equal, expected.upper, seen[0].upper))
    assert not any(unchanged)  # all are learned
    chex.assert_trees_all_close(found.upper_totals, expected.upper_totals, rtol=1e-5)
    chex.assert_trees_all_close(found.upper, expected.upper, rtol=1e-5, atol=1e-7)


@pytest.mark.tpu
@pytest.mark.parametrize("name", ["bomd", "mmkd"])
def test_a_tpu_gets_a_program_without_branches(name):
    topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    program, state = traced(name, Devices(Mesh(np.asarray(topology.devices), ("data",))))
    compiled = program.lower().compile()
    text = compiled.as_text()
    assert " conditional(" not in text
    conditions = re.findall(r" while\(.*?condition=%([\w.\-]+)", text)
    assert conditions
    for condition in conditions:  # that a counter is below a constant
        body = re.search(rf"^%{re.escape(condition)} .*?^}}", text, re.DOTALL | re.MULTILINE).group()
        compared = re.search(r"ROOT .* compare\(%[\w.\-]+, %([\w.\-]+)\), direction=LT", body)
        assert compared and re.search(rf"%{re.escape(compared[1])} = \S+ constant\(\d+\)", body)
    assert re.search("all-reduce|reduce-scatter", text)  # it is one program of four chips
    # Each chip convolves its own quarter of a batch, in the unrolled steps too.
    shape = r"= f32\[(\d+),\d+,\d+,\d+\]\S* convolution\(.*conv_general_dilated"  # no product of matrices
    batches = {int(first) for first in re.findall(shape, text)}
    assert BATCH // 4 in batches and BATCH not in batches
    # Every array of the state is written where it was.
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert compiled.memory_analysis().alias_size_in_bytes >= size
    donated = re.search(r"input_output_alias=\{(.*?)\}, entry", text)
    assert donated and donated.group(1).count("-alias") == len(jax.tree.leaves(state))
