"""Trainings taken through their steps: one alone, or several with other seeds in the same compiled calls."""

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import PyTree

from jkd.machine import hosts, process
from jkd.machine.process import Interrupted
from jkd.methods.base import Metrics
from jkd.run import InUse
from jkd.steps.calls import Call, Cycles, Draw, cycled
from jkd.steps.images import Data
from jkd.steps.program import Program
from jkd.steps.state import State
from jkd.steps.task import Task

T = TypeVar("T")


class Diverged(Exception):
    """The loss is not finite. The message names the step and the terms; the last checkpoint is kept."""


class Stage(IntEnum):
    """What comes first at the same step."""

    BEGIN = 0  # is told how to ask whether to stop
    MEASURED = 1  # the epoch is over
    RECORDED = 2
    CALL = 3
    TRAINED = 4


class Turn(NamedTuple):
    """What a training waits for: that its next call is made, or that those beside it are as far."""

    step: int
    stage: Stage
    call: Call | None = None
    arguments: tuple[State, PyTree, Data, Draw, int, int] | None = None


Training = Generator[Turn, Any, T]
"""A training: it yields turns, and gets what it waited for."""


def compile_together(task: Task, steps: int, runs: int) -> Call:
    """Returns the compiled training call of several runs that differ in their seeds.

    It has a run on each device where there are several devices, and on each device its runs under `vmap`.

    Args:
        task: What is trained.
        steps: About how many steps a call takes.
        runs: How many runs there are.
    """
    devices = task.devices
    loop, describe, take, rows = cycled(dataclasses.replace(task, devices=devices.one), steps)
    lanes = devices.round_up(runs)

    def each(states: State, teachers: PyTree, data: Data, of: Cycles) -> tuple[State, Metrics]:
        return jax.vmap(loop, (0, None, None, 0))(states, teachers, data, of)

    if devices.count > 1:
        apart, whole = PartitionSpec("data"), PartitionSpec()
        each = jax.shard_map(
            each, mesh=devices.mesh, in_specs=(apart, whole, whole, apart), out_specs=apart, check_vma=False
        )

    def all_of(states: tuple[State, ...], teachers: PyTree, data: Data, of: Cycles):
        # Devices that no run is left for repeat the first.
        filled = states + states[:1] * (lanes - runs)
        state, metrics = each(jax.tree.map(lambda *x: jnp.stack(x), *filled), teachers, data, of)
        return tuple(jax.tree.map(lambda x, i=i: x[i], (state, metrics)) for i in range(runs))

    program = Program(all_of, placed=lambda *_: devices.whole)

    def described(draws: tuple[Draw, ...], step: int, count: int) -> Cycles:
        filled = draws + draws[:1] * (lanes - runs)
        return jax.tree.map(lambda *x: np.stack(x), *(describe(draw, step, count) for draw in filled))

    def run(states: tuple[State, ...], teachers: PyTree, data: Data, draws: Any, step: int, count: int):
        found = program(states, teachers, data, described(draws, step, count))
        return tuple((state, jax.tree.map(lambda x: x[:count], metrics)) for state, metrics in found)

    def trace(states: tuple[State, ...], teachers: PyTree, data: Data, draws: Any, step: int, count: int):
        return (program.trace(states, teachers, data, described(draws, step, count)),)

    return Call(rows, take, run, trace, lambda: program.memory, lambda: program.seconds, runs)


def drive(trainings: Sequence[Training[T]]) -> list[T | Exception]:
    """Takes trainings to their ends, those that are at the same step by one call.

    Those that are behind go first. What a training does before its first step and after its last, it does
    while the others wait.

    Args:
        trainings: They share their call if they are several: that of `compile_together`, or of one run.

    Returns:
        What each has come to: its result, or that it diverged, or that another process is at it.

    Raises:
        Interrupted: a signal or the time limit asked to stop; what was done is saved.
    """
    turns: dict[int, Turn] = {}
    ended: dict[int, T | Exception] = {}

    def resume(number: int, answer: Any = None) -> None:
        try:
            turns[number] = trainings[number].send(answer)
            return
        except StopIteration as done:
            ended[number] = done.value
        except (Diverged, InUse, Interrupted) as error:
            ended[number] = error
        turns.pop(number, None)

    try:
        for number in range(len(trainings)):
            resume(number)
        with _signals() as asked_to_stop:
            for number in list(turns):
                resume(number, asked_to_stop)
            while ahead := [turn[:2] for turn in turns.values() if turn.stage != Stage.TRAINED]:
                now = [number for number, turn in turns.items() if turn[:2] == min(ahead)]
                answers = _call([turns[number] for number in now], len(trainings))
                for number, answer in zip(now, answers, strict=True):
                    resume(number, answer)
        for number in list(turns):
            resume(number)
    finally:
        for training in trainings:
            training.close()
    stopped = [error for error in ended.values() if isinstance(error, Interrupted)]
    if stopped:
        raise stopped[0]
    return [ended[number] for number in range(len(trainings))]


def _call(turns: Sequence[Turn], runs: int) -> Sequence[Any]:
    """Makes the call that trainings wait for; one of them fills the places of those missing."""
    first = turns[0]
    if first.call is None or first.arguments is None:
        return [None] * len(turns)
    if runs == 1:
        return [first.call.run(*first.arguments)]
    filled = [turn.arguments for turn in (*turns, *[first] * (runs - len(turns))) if turn.arguments]
    states, draws = (tuple(arguments[place] for arguments in filled) for place in (0, 3))
    _, teachers, data, _, step, count = first.arguments
    return first.call.run(states, teachers, data, draws, step, count)[: len(turns)]


@contextmanager
def _signals():
    """Gives a function of the step that returns the number of the signal that asked to stop, or 0."""
    with process.heard("saving after this step; once is enough") as heard:
        if hosts.joined():
            yield lambda step: hosts.stopped_at(step, heard())
        else:
            yield lambda step: heard()
