"""Training steps as compiled programs: one step a call, or many in a loop."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Int, PyTree

from jkd.methods.base import Metrics
from jkd.training.state import State
from jkd.training.step import Images, Seen, Task, lower_update, observe, upper_update


class Draw(NamedTuple):
    """Which examples the steps of one call see: positions in `Images`."""

    train: Int[Any, "steps batch"]
    held_out: Int[Any, "steps held_out"]  # no columns where the method holds none out


class Call(NamedTuple):
    """A compiled call of up to `steps` training steps.

    `run(state, teachers, data, draw, step, count)` takes the first `count` rows of `draw` and returns the
    state and the metrics of each step, stacked. `step` repeats `state.step` on the host, so that no call
    waits for the one before. `memory()` is what the largest of its programs that have run takes.
    """

    steps: int
    run: Callable[[State, PyTree, Images, Draw, int, int], tuple[State, Metrics]]
    memory: Callable[[], int]


def compile_call(task: Task, steps: int) -> Call:
    """Returns the compiled training call: three programs for one step a call, one loop for many."""
    return _single(task) if steps == 1 else _loop(task, steps)


class _Program:
    """A function, compiled when it is first called, and the bytes that it takes on one device: arguments,
    results and what lies between, as the compiler says; 0 where it does not say, or was not called."""

    def __init__(self, function: Callable[..., Any]):
        self._compiled = jax.jit(function)
        self.memory = 0

    def __call__(self, *arguments: Any) -> Any:
        results = self._compiled(*arguments)
        # For the very arguments of a call, lowering and compiling are found in JAX's caches.
        if not self.memory and (found := self._compiled.lower(*arguments).compile().memory_analysis()):
            parts = found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes
            self.memory = sum(parts) - found.alias_size_in_bytes
        return results


def _pick(task: Task, data: Images, train: Any, held_out: Any) -> tuple[Images, Images | None]:
    """Gathers a batch, split over the devices, and a held-out one where there is one."""

    def pick(positions: Any) -> Images:
        return task.devices.shard(Images(*(field[positions] for field in data)))

    return pick(train), pick(held_out) if held_out.shape[-1] else None


def _single(task: Task) -> Call:
    """One step a call. What is seen, the upper and the lower level are compiled apart, each once."""

    @_Program
    def see(state: State, teachers: PyTree, data: Images, train: Any, held_out: Any) -> Seen:
        return observe(task, state, teachers, *_pick(task, data, train, held_out))

    upper = _Program(partial(upper_update, task))
    lower = _Program(partial(lower_update, task))

    def run(state: State, teachers: PyTree, data: Images, draw: Draw, step: int, count: int):
        del count
        seen = see(state, teachers, data, draw.train[0], draw.held_out[0])
        if task.upper_due(step):
            state = upper(state, teachers, seen)
        state, metrics = lower(state, seen)
        return state, jax.tree.map(lambda x: x[None], metrics)

    return Call(1, run, lambda: max(see.memory, upper.memory, lower.memory))


def _loop(task: Task, steps: int) -> Call:
    """Many steps a call. Its length is an argument: an epoch's shorter last call is the same program."""

    def body(i: Any, carry: tuple[State, Metrics], teachers: PyTree, data: Images, draw: Draw):
        state, kept = carry
        seen = observe(task, state, teachers, *_pick(task, data, draw.train[i], draw.held_out[i]))
        if task.method.upper_level is not None:
            due = jnp.asarray(task.upper_due(state.step))
            state = jax.lax.cond(due, lambda s: upper_update(task, s, teachers, seen), lambda s: s, state)
        state, metrics = lower_update(task, state, seen)
        return state, jax.tree.map(lambda all_steps, x: all_steps.at[i].set(x), kept, metrics)

    @_Program
    def loop(state: State, teachers: PyTree, data: Images, draw: Draw, count: Int[Any, ""]):
        kept = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape), x.dtype), state.totals)
        return jax.lax.fori_loop(
            0, count, lambda i, carry: body(i, carry, teachers, data, draw), (state, kept)
        )

    def run(state: State, teachers: PyTree, data: Images, draw: Draw, step: int, count: int):
        del step
        state, metrics = loop(state, teachers, data, draw, count)
        return state, jax.tree.map(lambda x: x[:count], metrics)

    return Call(steps, run, lambda: loop.memory)
