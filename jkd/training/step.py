"""One training step of any method, and many of them in one compiled call."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, UInt8

from jkd.bilevel import hypergradient
from jkd.data.augment import augment, standardise
from jkd.methods.base import Batch, LossFn, Method, Metrics, Variables
from jkd.models import Outputs
from jkd.training.devices import Devices
from jkd.training.state import Split, State

# What the random numbers of a step are for; folded into its key.
_AUGMENT, _MEMORY_UPDATE, _MEMORY_SAMPLE = range(3)


class Images(NamedTuple):
    """A data set, or a batch of it, as it is stored."""

    images: UInt8[Any, "examples height width channels"]
    labels: Int[Any, " examples"]


class Draw(NamedTuple):
    """Which examples the steps of one call see: positions in `Images`."""

    train: Int[Any, "steps batch"]
    held_out: Int[Any, "steps held_out"]  # no columns where the method holds none out


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How images become what the networks see. `mean` and `std` are per channel, of images in [0, 1]."""

    crop_padding: int
    flip: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def train(self, key: PRNGKeyArray, images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns images cropped, flipped and standardised."""
        return self.evaluate(augment(key, images, crop_padding=self.crop_padding, flip=self.flip))

    def evaluate(self, images: UInt8[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns images standardised."""
        return standardise(images, jnp.asarray(self.mean), jnp.asarray(self.std))


@dataclasses.dataclass(frozen=True)
class Task:
    """What a step needs to know and never changes."""

    method: Method
    student: Any
    teachers: tuple[Any, ...]
    optimizer: optax.GradientTransformation
    augmentation: Augmentation
    seed: int
    epoch_steps: int
    total_steps: int
    devices: Devices

    def upper_due(self, step: Any) -> Any:
        """Whether the step (a number or an array) is one with an update of the upper level."""
        level = self.method.upper_level
        if level is None:
            return False
        due = step % level.every == level.every - 1
        if level.at_epoch_end:
            due |= step % self.epoch_steps == self.epoch_steps - 1
        return due


def teacher_outputs(task: Task, teachers: PyTree, images: Float[Array, "b h w c"]) -> tuple[Outputs, ...]:
    """Returns what each teacher says of the images, in evaluation mode and without a gradient."""
    return jax.lax.stop_gradient(
        tuple(
            model.apply(variables, images, train=False)
            for model, variables in zip(task.teachers, teachers, strict=True)
        )
    )


class _Seen(NamedTuple):
    """A batch with what the lower-level losses need beside it."""

    batch: Batch
    teachers: tuple[Outputs, ...]
    progress: Float[Array, ""]


def _lower_loss(task: Task, loss: LossFn) -> Callable[..., Any]:
    """The lower-level loss as a function of the lower-level parameters."""

    def run(params: Split, upper: PyTree, stats: Split, seen: _Seen):
        output, changed = task.student.apply(
            {"params": params.student, "batch_stats": stats.student},
            seen.batch.images,
            train=True,
            mutable=["batch_stats"],
        )
        own = Variables(params.method, stats.method, upper)
        result = loss(own, output, seen.teachers, seen.batch, seen.progress)
        return result.value, (Split(changed["batch_stats"], result.state), result.metrics, output)

    return run


def _inner_loss(task: Task, loss: LossFn) -> Callable[..., Any]:
    run = _lower_loss(task, loss)

    def inner(params: Split, upper: PyTree, stats: Split, seen: _Seen):
        value, (stats, _, _) = run(params, upper, stats, seen)
        return value, stats

    return inner


def _upper_update(
    task: Task, state: State, teachers: PyTree, key: PRNGKeyArray, seen: _Seen, held_out: Batch
) -> tuple[State, Metrics]:
    """Updates the upper-level variables through unrolled steps from the present state, then undoes these."""
    level = task.method.upper_level
    assert level is not None
    if level.memory is not None:
        batch = level.memory.sample(jax.random.fold_in(key, _MEMORY_SAMPLE), state.memory)
        seen = _Seen(batch, teacher_outputs(task, teachers, batch.images), seen.progress)
        held_out = batch

    def outer(params: Split, upper: PyTree, stats: Split, batch: Batch):
        del upper
        # In training mode: the running statistics of a young student say little about it.
        output, _ = task.student.apply(
            {"params": params.student, "batch_stats": stats.student},
            batch.images,
            train=True,
            mutable=["batch_stats"],
        )
        return level.outer_loss(output, batch), {}

    result = hypergradient(
        [_inner_loss(task, loss) for loss in level.inner_losses],
        outer,
        task.optimizer,
        estimator=level.estimator,
        rematerialise=level.rematerialise,
    )(state.upper, state.params, state.opt_state, state.stats, [seen] * len(level.inner_losses), held_out)
    updates, upper_opt_state = level.optimizer.update(result.gradient, state.upper_opt_state, state.upper)
    metrics = {
        "outer_loss": result.value,
        "hypergradient_norm": optax.tree.norm(result.gradient),
        "updates": jnp.ones(()),
    }
    upper = optax.apply_updates(state.upper, updates)
    return state._replace(upper=upper, upper_opt_state=upper_opt_state), metrics


def train_step(
    task: Task, state: State, teachers: PyTree, raw: Images, raw_held_out: Images, update_upper: Any
) -> tuple[State, Metrics, Metrics]:
    """Returns the next state, the metrics of the step, and those of the upper level (zeros where it had no
    update).

    `update_upper` is a bool, or a boolean scalar where it is only known inside the compiled program.
    """
    key = jax.random.fold_in(jax.random.key(task.seed), state.step)
    batch = Batch(task.augmentation.train(jax.random.fold_in(key, _AUGMENT), raw.images), raw.labels)
    progress = state.step / task.total_steps
    seen = _Seen(batch, teacher_outputs(task, teachers, batch.images), progress)

    upper_metrics = state.upper_totals
    if task.method.upper_level is not None:
        held_out = Batch(task.augmentation.evaluate(raw_held_out.images), raw_held_out.labels)

        def update(state: State) -> tuple[State, Metrics]:
            return _upper_update(task, state, teachers, key, seen, held_out)

        def leave(state: State) -> tuple[State, Metrics]:
            return state, jax.tree.map(jnp.zeros_like, state.upper_totals)

        if isinstance(update_upper, bool):
            state, upper_metrics = (update if update_upper else leave)(state)
        else:
            state, upper_metrics = jax.lax.cond(update_upper, update, leave, state)

    (value, (stats, metrics, output)), gradient = jax.value_and_grad(
        _lower_loss(task, task.method.loss), has_aux=True
    )(state.params, state.upper, state.stats, seen)
    updates, opt_state = task.optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    memory = state.memory
    if task.method.upper_level is not None and task.method.upper_level.memory is not None:
        memory = task.method.upper_level.memory.update(
            jax.random.fold_in(key, _MEMORY_UPDATE), memory, batch, output
        )
    metrics = metrics | {
        "loss": value,
        "top1": jnp.mean(output.logits.argmax(-1) == batch.labels),
        "gradient_norm": optax.tree.norm(gradient.student),
        "update_norm": optax.tree.norm(updates.student),
        "parameter_norm": optax.tree.norm(params.student),
    }
    state = state._replace(
        step=state.step + 1, params=params, stats=stats, opt_state=opt_state, memory=memory
    )
    return state, metrics, upper_metrics


class Call(NamedTuple):
    """A compiled call of up to `steps` training steps.

    `run(state, teachers, data, draw, step, count)` takes the first `count` rows of `draw` and returns the
    state and the metrics of each step, stacked. `step` repeats `state.step` on the host, so that no call
    waits for the one before.
    """

    steps: int
    run: Callable[[State, PyTree, Images, Draw, int, int], tuple[State, Metrics]]


def compile_call(task: Task, steps: int) -> Call:
    """Returns the compiled training call.

    One step a call compiles two programs, with and without an upper-level update. Many are one loop whose
    length is an argument, so that the shorter last call of an epoch needs no program of its own.
    """

    def one(state: State, teachers, data: Images, train, held_out, update_upper):
        def pick(positions):
            return task.devices.shard(Images(data.images[positions], data.labels[positions]))

        state, metrics, upper_metrics = train_step(
            task, state, teachers, pick(train), pick(held_out), update_upper
        )
        totals = jax.tree.map(jnp.add, state.totals, metrics)
        upper_totals = jax.tree.map(jnp.add, state.upper_totals, upper_metrics)
        if task.method.upper_level is None:
            upper_totals = state.upper_totals
        return state._replace(totals=totals, upper_totals=upper_totals), metrics

    if steps == 1:
        compiled = jax.jit(one, static_argnums=5)

        def run_one(state, teachers, data, draw: Draw, step: int, count: int):
            del count
            due = bool(task.upper_due(step))
            state, metrics = compiled(state, teachers, data, draw.train[0], draw.held_out[0], due)
            return state, jax.tree.map(lambda x: x[None], metrics)

        return Call(1, run_one)

    def body(i, carry, teachers, data, draw):
        state, seen = carry
        state, metrics = one(
            state, teachers, data, draw.train[i], draw.held_out[i], jnp.asarray(task.upper_due(state.step))
        )
        return state, jax.tree.map(lambda all, x: all.at[i].set(x), seen, metrics)

    @jax.jit
    def loop(state: State, teachers, data: Images, draw: Draw, count):
        seen = jax.tree.map(lambda x: jnp.zeros((steps, *x.shape), x.dtype), state.totals)
        return jax.lax.fori_loop(
            0, count, lambda i, carry: body(i, carry, teachers, data, draw), (state, seen)
        )

    def run_many(state, teachers, data, draw: Draw, step: int, count: int):
        del step
        state, metrics = loop(state, teachers, data, draw, count)
        return state, jax.tree.map(lambda x: x[:count], metrics)

    return Call(steps, run_many)


def with_totals(task: Task, state: State, teachers: PyTree, images: tuple[int, ...]) -> State:
    """Returns the state with totals of zero for each metric of a step on batches of shape `images`."""
    names = ("outer_loss", "hypergradient_norm", "updates") if task.method.upper_level is not None else ()
    state = state._replace(totals={}, upper_totals={name: jnp.zeros(()) for name in names})
    raw = jax.eval_shape(lambda: Images(jnp.zeros(images, jnp.uint8), jnp.zeros(images[0], jnp.int32)))
    _, metrics, _ = jax.eval_shape(lambda s, t, r: train_step(task, s, t, r, r, False), state, teachers, raw)
    return state._replace(totals=jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.float32), metrics))
