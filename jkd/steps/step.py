"""One training step of any method, as three pure functions: seeing, the upper level, the lower level."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Int, PRNGKeyArray, PyTree

from jkd.bilevel import hypergradient
from jkd.methods.base import Batch, Metrics, TeacherOutputs
from jkd.steps.asking import teacher_outputs
from jkd.steps.images import Images
from jkd.steps.losses import Seen, inner_loss, lower_loss, outer_loss
from jkd.steps.state import State
from jkd.steps.task import Task

# What the random numbers of a step are for; folded into its key.
_AUGMENT, _MEMORY_UPDATE, _MEMORY_SAMPLE, _DROPOUT = range(4)


def observe(task: Task, state: State, teachers: PyTree, raw: Images, raw_held_out: Images | None) -> Seen:
    """Augments the step's batch and asks the teachers about it, or takes what they have said of its views.

    Held-out images, which only the outer loss sees, are standardised alone.
    """
    batch = _augmented(task, state, raw)
    if raw.said:
        said = jax.tree.map(lambda x: x.astype(jnp.float32), raw.said)
        heads = (network.head(own) for network, own in zip(task.teachers, teachers, strict=True))
        outputs = tuple(kept._replace(head=head) for kept, head in zip(said, heads, strict=True))
    else:
        outputs = teacher_outputs(task.teachers, teachers, batch.images)
    return _seen(task, state, batch, outputs, _standardised(task, raw_held_out))


def observe_together(
    task: Task,
    state: State,
    teachers: PyTree,
    raw: Images,
    raw_held_out: Images | None,
    after: Int[Any, " batches"],
) -> Callable[[State, Any], Seen]:
    """Does what `observe` does for several batches, with the teachers asked once for all of them.

    The fields of `raw` are of shape [batch, batches, ...], in which splitting the batch over devices splits
    the images of all batches alike. `after` is how many steps after `state` each of them is seen. Returns a
    function of a step's state and of a batch's place among them.
    """
    size, steps = raw.labels.shape
    batches = jax.vmap(lambda step, one: _augmented(task, state._replace(step=step), one), (0, 1), 1)(
        state.step + after, raw
    )
    merged = batches.images.reshape(-1, *batches.images.shape[2:])
    outputs = teacher_outputs(task.teachers, teachers, task.devices.shard(merged))
    answers = [{name: x for name, x in one._asdict().items() if name != "head"} for one in outputs]
    answers = jax.tree.map(lambda x: x.reshape(size, steps, *x.shape[1:]), answers)
    held_out = _standardised(task, raw_held_out)

    def seen(state: State, i: Any) -> Seen:
        batch, own = jax.tree.map(
            lambda x: jax.lax.dynamic_index_in_dim(x, i, 1, keepdims=False), (batches, answers)
        )
        own = tuple(TeacherOutputs(**one, head=whole.head) for one, whole in zip(own, outputs, strict=True))
        return _seen(task, state, batch, own, held_out)

    return seen


def _augmented(task: Task, state: State, raw: Images) -> Batch:
    if raw.said:
        images = task.augmentation.in_views(raw.views, raw.positions, raw.images)
    else:
        images = task.augmentation.train(_key(state, _AUGMENT), raw.images)
    return Batch(images, raw.labels, raw.positions)


def _standardised(task: Task, raw: Images | None) -> Batch | None:
    return None if raw is None else Batch(task.augmentation.evaluate(raw.images), raw.labels)


def _seen(
    task: Task, state: State, batch: Batch, teachers: tuple[TeacherOutputs, ...], held_out: Batch | None
) -> Seen:
    if task.label_smoothing:
        batch = batch._replace(label_smoothing=jnp.float32(task.label_smoothing))
    dropout = jax.random.key_data(_key(state, _DROPOUT))
    return Seen(batch, teachers, state.step / task.total_steps, dropout, held_out)


def lower_update(task: Task, state: State, seen: Seen) -> tuple[State, Metrics]:
    """Takes one step of the lower level: the student and the method's own parameters."""
    (value, (stats, metrics, output)), gradient = jax.value_and_grad(
        lower_loss(task, task.method.loss), has_aux=True
    )(state.params, state.upper, state.stats, seen)
    updates, opt_state = task.optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    memory = state.memory
    level = task.method.upper_level
    if level is not None and level.memory is not None:
        memory = level.memory.update(_key(state, _MEMORY_UPDATE), memory, seen.batch, output, seen.teachers)
    # A method that predicts in its own way gives its own accuracy.
    top1 = jnp.mean(output.logits.argmax(-1) == seen.batch.labels)
    metrics = (
        {"top1": top1}
        | metrics
        | {
            "loss": value,
            "gradient_norm": optax.tree.norm(gradient.student),
            "update_norm": optax.tree.norm(updates.student),
            "parameter_norm": optax.tree.norm(params.student),
        }
    )
    state = state._replace(
        step=state.step + 1,
        params=params,
        stats=stats,
        opt_state=opt_state,
        memory=memory,
        totals=jax.tree.map(jnp.add, state.totals, metrics),
    )
    return state, metrics


def upper_update(task: Task, state: State, seen: Seen) -> State:
    """Updates the upper-level variables through unrolled steps from the present state, then undoes these.

    What is seen is the step's batch, or where the upper level looks at nothing else the held-out one.
    """
    level = task.method.upper_level
    assert level is not None
    if level.on_held_out:
        seen = seen._replace(held_out=seen.batch)
    if level.memory is not None:
        # Every device has the whole memory: without this each would take all of the batch.
        batch, said = task.devices.shard(level.memory.sample(_key(state, _MEMORY_SAMPLE), state.memory))
        pairs = zip(said, seen.teachers, strict=True)
        asked = tuple(kept._replace(head=now.head) for kept, now in pairs)
        lesson = batch._replace(label_smoothing=seen.batch.label_smoothing)
        seen = seen._replace(batch=lesson, teachers=asked, held_out=batch)
    inner, options = inner_loss(task, level)
    result = hypergradient(
        inner,
        outer_loss(task, level),
        task.optimizer,
        estimator=level.estimator,
        rematerialise=level.rematerialise,
        **options,
    )(
        state.upper,
        state.params,
        state.opt_state,
        state.stats,
        [(seen, step) for step in range(len(level.inner_losses))],
        (seen.held_out, seen.dropout),
    )
    updates, upper_opt_state = level.optimizer.update(result.gradient, state.upper_opt_state, state.upper)
    if level.follow_schedule:
        updates = optax.tree.scale(task.relative_rate(state.step) ** 2, updates)
    metrics = {
        "outer_loss": result.value,
        "hypergradient_norm": optax.tree.norm(result.gradient),
        "updates": jnp.ones(()),
    }
    return state._replace(
        upper=optax.apply_updates(state.upper, updates),
        upper_opt_state=upper_opt_state,
        upper_totals=jax.tree.map(jnp.add, state.upper_totals, metrics),
    )


def with_totals(task: Task, state: State, teachers: PyTree, images: tuple[int, ...]) -> State:
    """Returns the state with totals of zero for each metric of a step on batches of shape `images`."""
    names = ("outer_loss", "hypergradient_norm", "updates") if task.method.upper_level is not None else ()
    places = jax.ShapeDtypeStruct(images[:1], jnp.int32)
    raw = Images(jax.ShapeDtypeStruct(images, jnp.uint8), places, places)

    def metrics(state: State, teachers: PyTree, raw: Images) -> Metrics:
        seen = observe(task, state, teachers, raw, None)
        return lower_loss(task, task.method.loss)(state.params, state.upper, state.stats, seen)[1][1]

    own = jax.eval_shape(metrics, state, teachers, raw)
    always = ("loss", "top1", "gradient_norm", "update_norm", "parameter_norm")
    return state._replace(
        totals={name: jnp.zeros(shape.shape) for name, shape in own.items()}
        | {name: jnp.zeros(()) for name in always},
        upper_totals={name: jnp.zeros(()) for name in names},
    )


def _key(state: State, purpose: int) -> PRNGKeyArray:
    """The step's random key for one purpose."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step), purpose)
