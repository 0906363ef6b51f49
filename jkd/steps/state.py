"""The whole state of training as one immutable pytree."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray, PyTree, UInt32

from jkd.methods.asked import asked
from jkd.methods.base import Batch, Method, Metrics, TeacherOutputs
from jkd.models import Outputs
from jkd.steps.devices import Devices


class Split(NamedTuple):
    """Something that the student and the method each have one of (parameters, batch statistics)."""

    student: PyTree
    method: PyTree


class State(NamedTuple):
    """All that a step changes or depends on. What is random is a function of `key` and `step`."""

    key: UInt32[Array, "..."]  # raw data of the run's random key: the same program then serves every seed
    step: Int[Array, ""]
    params: Split  # lower-level variables
    stats: Split  # batch statistics, and what else a loss carries along
    opt_state: PyTree
    upper: PyTree
    upper_opt_state: PyTree
    memory: PyTree
    totals: Metrics  # sums of the metrics since the epoch began
    upper_totals: Metrics  # the same of the upper level's metrics, with the number of its updates


def student_variables(state: State) -> dict[str, Any]:
    """Returns the student as its network takes it."""
    return {"params": state.params.student, "batch_stats": state.stats.student}


def with_student(state: State, variables: dict[str, Any]) -> State:
    """Returns the state with another student, or with none for an empty dictionary."""
    return state._replace(
        params=state.params._replace(student=variables.get("params", ())),
        stats=state.stats._replace(student=variables.get("batch_stats", ())),
    )


def shardings(devices: Devices, state: State, apart: bool = True) -> State:
    """Returns how a state is on the devices: whole on each but, if `apart`, for a memory that is in parts."""
    memory = devices.of_parts(state.memory) if apart else devices.whole
    whole: State = jax.tree.map(lambda _: devices.whole, state)
    return whole._replace(memory=jax.tree.map(lambda _: memory, state.memory))


def optimizer(
    method: Method,
    rate: optax.Schedule,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    name: str = "sgd",
) -> optax.GradientTransformation:
    """The lower level's optimizer over `State.params`: SGD or AdamW, and the method's own where it has one.

    Args:
        method: What is trained.
        rate: The learning rate at each step.
        momentum: SGD's, or AdamW's β₁; its β₂ is 0.999.
        nesterov: Whether SGD's momentum is Nesterov's.
        weight_decay: Of every parameter; AdamW's is decoupled from the gradient (Loshchilov & Hutter 2019).
        name: `sgd` or `adamw`.
    """
    if name == "adamw":
        # The square root of a second moment of 0 has no derivative, which a hypergradient would need.
        root = 0.0 if method.upper_level is None else 1e-16
        plain = optax.adamw(rate, momentum, eps_root=root, weight_decay=weight_decay)
    else:
        plain = optax.chain(
            optax.add_decayed_weights(weight_decay), optax.sgd(rate, momentum or None, nesterov=nesterov)
        )
    if method.optimizer is None:
        return plain
    own = method.optimizer(plain, rate, momentum)

    def init(params: Split) -> Split:
        return Split(plain.init(params.student), own.init(params.method))

    def update(gradient: Split, state: Split, params: Split) -> tuple[Split, Split]:
        student = plain.update(gradient.student, state.student, params.student)
        mine = own.update(gradient.method, state.method, params.method)
        return Split(student[0], mine[0]), Split(student[1], mine[1])

    return optax.GradientTransformation(init, update)  # type: ignore[arg-type]


def signature(model: Any, variables: PyTree, images: jax.ShapeDtypeStruct) -> Outputs:
    """Returns the shapes and types of a network's outputs."""
    return jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, images)


def initial(
    key: PRNGKeyArray,
    step_key: PRNGKeyArray,
    method: Method,
    student: Any,
    teachers: tuple[TeacherOutputs, ...],
    lower_optimizer: optax.GradientTransformation,
    images: jax.ShapeDtypeStruct,
    examples: int,
) -> State:
    """Returns the state before the first step, from a key to initialise with and the key of all steps.

    `examples` is the number of training images, of which a batch has the form of `images`.
    Its totals are empty; see `jkd.steps.step.with_totals`.
    """
    student_key, method_key = jax.random.split(key)
    example = Batch(jnp.zeros(images.shape, images.dtype), jnp.zeros(images.shape[0], jnp.int32))
    variables = jax.jit(lambda k: student.init(k, example.images, train=False))(student_key)
    seen = signature(student, variables, images)
    own = jax.jit(lambda k: method.init(k, seen, teachers))(method_key)
    params = Split(variables["params"], own.params)
    stats = Split(variables["batch_stats"], own.state)
    upper_opt_state: PyTree = ()
    memory: PyTree = ()
    if method.upper_level is not None and method.upper_level.per_example:
        each = jax.tree.map(lambda x: jnp.broadcast_to(x, (examples, *x.shape)), own.upper)
        own = own._replace(upper=each)
    if method.upper_level is not None:
        upper_opt_state = method.upper_level.optimizer.init(own.upper)
        if method.upper_level.memory is not None:
            form = asked(method.upper_level.inner_losses, own, seen, teachers, example)
            memory = method.upper_level.memory.init(example, form)
    return State(
        jax.random.key_data(step_key),
        jnp.zeros((), jnp.int32),
        params,
        stats,
        lower_optimizer.init(params),
        own.upper,
        upper_opt_state,
        memory,
        {},
        {},
    )
