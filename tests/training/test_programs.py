"""What a call of many steps is as a program: nothing in it waits for the host, and the state is donated.

Lowered for accelerators that are not there, every method; compiled for a TPU that is not there, two of them.
"""

import re

import jax
import numpy as np
import pytest
from jax.experimental import topologies
from jax.sharding import Mesh
from tiny_steps import positions, prepared

from jkd import methods
from jkd.training.calls import compile_call
from jkd.training.devices import Devices

GIVEN = {"mmkd": {"buffer_size": 12}}


def traced(name, devices=None):
    method = methods.create(name, **GIVEN.get(name, {}))
    task, state, teachers, data = prepared(method, 23, 46, devices)
    if devices is not None:
        state, teachers, data = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=devices.whole), (state, teachers, data)
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
    # Every array of the state is written where it was.
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert compiled.memory_analysis().alias_size_in_bytes >= size
    donated = re.search(r"input_output_alias=\{(.*?)\}, entry", text)
    assert donated and donated.group(1).count("-alias") == len(jax.tree.leaves(state))
