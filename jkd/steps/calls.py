"""Training steps as compiled programs: one step a call, or many in a loop."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Bool, Int, PyTree

from jkd.methods.base import Metrics
from jkd.steps.images import Batches, Data, Images
from jkd.steps.losses import Seen
from jkd.steps.program import Program
from jkd.steps.state import State, shardings
from jkd.steps.step import lower_update, observe, observe_together, upper_update
from jkd.steps.task import Task

# A cycle of up to so many steps asks the teachers about all its batches at once: their answers are alive
# together. A longer one asks step by step, and no cycle is longer than the second number.
_TOGETHER, _LONGEST = 8, 20


class Draw(NamedTuple):
    """Which examples the steps of one call see: positions in `Images`, or steps in `Batches`."""

    train: Int[Any, "steps batch"]
    held_out: Int[Any, "steps held_out"]  # no columns where the method holds none out


class Call(NamedTuple):
    """A compiled call of up to `steps` training steps.

    `take(step, end)` is how many steps the call from `step` on takes, in an epoch that ends at `end`.
    `run(state, teachers, data, draw, step, count)` takes them, by the first `count` rows of `draw`, which has
    `steps`, and returns the state and the metrics of each step, stacked. The state that went in is used up:
    the new one has its memory. `step` repeats `state.step` on the host, so that no call waits for the one
    before. `trace`, of the same arguments (shapes are enough, but for `draw`), gives the programs, not run.
    `memory()` is what the largest of those that have run takes, `compilation()` the seconds that it took to
    compile them so far.

    Of several `runs` together, `state` and `draw` are tuples with one for each run, and so is what comes
    back: pairs of a state and metrics. Nothing that went in is used up.
    """

    steps: int
    take: Callable[[int, int], int]
    run: Callable[[Any, PyTree, Data, Any, int, int], Any]
    trace: Callable[[Any, PyTree, Data, Any, int, int], tuple[jax.stages.Traced, ...]]
    memory: Callable[[], int]
    compilation: Callable[[], float]
    runs: int = 1


def compile_call(task: Task, steps: int) -> Call:
    """Returns the compiled training call: three programs for one step a call, one loop for many."""
    return _single(task) if steps == 1 else _loop(task, steps)


def _pick(task: Task, data: Data, train: Any, held_out: Any) -> tuple[Images, Images | None]:
    """Gathers batches, split over the devices along the first axis, and a held-out one where there is one.

    No image leaves its device for it: of all images each device has all, of batches its own rows.
    """
    if isinstance(data, Batches):

        def of_steps(columns: Images, steps: Any) -> Images:
            return task.devices.shard(jax.tree.map(lambda column: column[:, steps], columns))

        apart = of_steps(data.held_out, held_out[0]) if data.held_out is not None else None
        return of_steps(data.train, train[0]), apart

    def pick(positions: Any) -> Images:
        return task.devices.shard(jax.tree.map(lambda column: column[positions], data))

    return pick(train), pick(held_out) if held_out.shape[-1] else None


def _alone(data: Data, draw: Draw, part: str) -> tuple[Data, Any, Any]:
    """Returns what `_pick` takes to give one batch, the one of `part`, "train" or "held_out", by itself."""
    images = Batches(getattr(data, part)) if isinstance(data, Batches) else data
    return images, getattr(draw, part)[0], draw.held_out[0, :0]


def _single(task: Task) -> Call:
    """One step a call. What is seen, the upper and the lower level are compiled apart, each once."""

    @Program
    def see(state: State, teachers: PyTree, data: Data, train: Any, held_out: Any) -> Seen:
        return observe(task, state, teachers, *_pick(task, data, train, held_out))

    def placed(state: State, *_: Any) -> State:
        return shardings(task.devices, state)

    upper = Program(partial(upper_update, task), (0,), placed)
    lower = Program(partial(lower_update, task), (0,), lambda *given: (placed(*given), task.devices.whole))

    on_held_out = _on_held_out(task)  # the batch held out is then seen by the same program

    def shown(data: Data, draw: Draw) -> tuple[Data, Any, Any]:
        return _alone(data, draw, "train") if on_held_out else (data, draw.train[0], draw.held_out[0])

    def run(state: State, teachers: PyTree, data: Data, draw: Draw, step: int, count: int):
        del count
        seen = lesson = see(state, teachers, *shown(data, draw))
        if task.upper_due(step):
            if on_held_out:
                lesson = see(state, teachers, *_alone(data, draw, "held_out"))
            state = upper(state, lesson)
        state, metrics = lower(state, seen)
        return state, jax.tree.map(lambda x: x[None], metrics)

    def trace(state: State, teachers: PyTree, data: Data, draw: Draw, step: int, count: int):
        del step, count
        first = see.trace(state, teachers, *shown(data, draw))
        second = (upper.trace(state, first.out_info),) if _ever_due(task) else ()
        return (first, *second, lower.trace(state, first.out_info))

    def memory() -> int:
        return max(see.memory, upper.memory, lower.memory)

    def compilation() -> float:
        return see.seconds + upper.seconds + lower.seconds

    return Call(1, lambda step, end: 1, run, trace, memory, compilation)


class Cycles(NamedTuple):
    """What the cycles of one call are; those that it does not need take no steps."""

    due: Bool[Any, " cycles"]  # whether the upper level is updated before the first step
    lengths: Int[Any, " cycles"]
    train: Int[Any, "cycles batch steps"]
    held_out: Int[Any, "cycles held_out"]  # for the update


def _loop(task: Task, steps: int) -> Call:
    """Many steps a call."""
    loop, describe, take, rows = cycled(task, steps)

    def placed(state: State, *_: Any) -> tuple[State, NamedSharding]:
        return shardings(task.devices, state), task.devices.whole

    program = Program(loop, (0,), placed)

    def run(state: State, teachers: PyTree, data: Data, draw: Draw, step: int, count: int):
        state, metrics = program(state, teachers, data, describe(draw, step, count))
        return state, jax.tree.map(lambda x: x[:count], metrics)

    def trace(state: State, teachers: PyTree, data: Data, draw: Draw, step: int, count: int):
        return (program.trace(state, teachers, data, describe(draw, step, count)),)

    return Call(rows, take, run, trace, lambda: program.memory, lambda: program.seconds)


def cycled(task: Task, steps: int) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., int], int]:
    """Returns a call as a function, what gives its last argument, how many steps it takes, and its rows.

    It has a constant number of cycles, each of a constant number of steps. An update of the upper level comes
    before the first step of a cycle, so that the program has one, and one copy of the teachers. Where a cycle
    has none, or fewer steps (the first and the last of an epoch), what was computed is not kept: a branch
    would wait for the host, and programs for what is left over would be compiled for as long again.
    """
    cycles, length = _cycles(task, steps)
    rows = cycles * length

    def cycle(c: Any, carry: tuple[State, Metrics], first: Any, teachers: PyTree, data: Data, of: Cycles):
        state, kept = carry
        raw, held_out = _pick(task, data, of.train[c], of.held_out[c])
        after, lesson = np.arange(length), 0
        if _on_held_out(task):  # one batch more beside those of the steps, seen at the first
            raw = jax.tree.map(lambda each, one: jnp.concatenate([each, one[:, None]], 1), raw, held_out)
            held_out, after, lesson = None, np.append(after, 0), length

        def see_one(state: State, i: Any) -> Seen:
            one = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, 1, keepdims=False), raw)
            return observe(task, state, teachers, one, held_out)

        together = length <= _TOGETHER and not raw.said
        see = observe_together(task, state, teachers, raw, held_out, after) if together else see_one
        if _ever_due(task):
            state = _choose(of.due[c], upper_update(task, state, see(state, lesson)), state)

        def step(i: Any, carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
            state, kept = carry
            wanted = i < of.lengths[c]
            after, metrics = lower_update(task, state, see(state, i))
            row = jnp.where(wanted, state.step - first, rows)  # `rows` lies outside: nothing is written there
            kept = jax.tree.map(lambda of_all, x: of_all.at[row].set(x, mode="drop"), kept, metrics)
            return _choose(wanted, after, state), kept

        return jax.lax.fori_loop(0, length, step, (state, kept))

    def loop(state: State, teachers: PyTree, data: Data, of: Cycles) -> tuple[State, Metrics]:
        kept = jax.tree.map(lambda x: jnp.zeros((rows, *x.shape), x.dtype), state.totals)
        body = partial(cycle, first=state.step, teachers=teachers, data=data, of=of)
        return jax.lax.fori_loop(0, cycles, body, (state, kept))

    def describe(draw: Draw, step: int, count: int) -> Cycles:
        start, due, lengths = (np.zeros(cycles, kind) for kind in (np.int32, bool, np.int32))
        for c, found in enumerate(_divide(task, length, step, step + count)):
            start[c], due[c], lengths[c] = found
        start[lengths > 0] -= step
        places = np.minimum(start[:, None] + np.arange(length), rows - 1)
        return Cycles(due, lengths, np.swapaxes(draw.train[places], 1, 2), draw.held_out[start])

    def take(step: int, end: int) -> int:
        return sum(taken for _, _, taken in islice(_divide(task, length, step, end), cycles))

    return loop, describe, take, rows


def _ever_due(task: Task) -> bool:
    level = task.method.upper_level
    return level is not None and (level.at_epoch_end or level.every <= task.total_steps)


def _on_held_out(task: Task) -> bool:
    level = task.method.upper_level
    return level is not None and level.on_held_out


def _cycles(task: Task, steps: int) -> tuple[int, int]:
    """Returns how many cycles a call of about `steps` steps has, and of how many steps each is."""
    level = task.method.upper_level
    every = level.every if level is not None and _ever_due(task) else 1
    parts = -(-every // min(_LONGEST, steps))
    length = -(-every // parts)
    # An epoch's first and last cycle may be cut short.
    of_epoch = -(-task.epoch_steps // every) * parts + (2 if every > 1 else 0)
    calls = -(-of_epoch // max(steps // length, 1))
    return -(-of_epoch // calls), length


def _divide(task: Task, length: int, step: int, end: int) -> Iterator[tuple[int, bool, int]]:
    """Divides steps into cycles: each one's first step, whether the upper level is due then, its length."""
    while step < end:
        after = step + 1
        while after < min(step + length, end) and not task.upper_due(after):
            after += 1
        yield step, bool(task.upper_due(step)), after - step
        step = after


def _choose(condition: Bool[Any, ""], yes: PyTree, no: PyTree) -> PyTree:
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(condition, a, b), yes, no)
