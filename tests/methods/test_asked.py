"""What methods ask of their teachers, and that upper levels with a memory ask no teacher again."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_every_method import BATCH, CLASSES, SHAPE, STUDENT, TEACHERS, task_of

from jkd import methods
from jkd.methods.asked import Unasked, asked, complete, keep
from jkd.methods.base import Batch, Loss, Method, Variables, no_variables
from jkd.steps.asking import TeacherNetwork, teacher_outputs
from jkd.steps.images import Images
from jkd.steps.state import initial, signature
from jkd.steps.step import lower_update, observe, upper_update, with_totals

IMAGES = jax.ShapeDtypeStruct(SHAPE, jnp.float32)
NETWORKS = tuple(map(TeacherNetwork.of, TEACHERS))


@pytest.fixture(scope="module")
def signatures():
    """Those of the student's and of the teachers' outputs."""
    begin = [jax.eval_shape(partial(n.init, train=False), jax.random.key(0), IMAGES) for n in TEACHERS]
    ours = jax.eval_shape(partial(STUDENT.init, train=False), jax.random.key(0), IMAGES)
    teachers = jax.eval_shape(partial(teacher_outputs, NETWORKS), tuple(begin), IMAGES)
    return signature(STUDENT, ours, IMAGES), teachers


def asks(method, signatures):
    """The names of what a method asks of each teacher, maps by their numbers."""
    student, teachers = signatures
    variables = jax.eval_shape(lambda key: method.init(key, student, teachers), jax.random.key(0))
    if method.upper_level and method.upper_level.per_example:
        each = jax.tree.map(lambda x: jax.ShapeDtypeStruct((BATCH, *x.shape), x.dtype), variables.upper)
        variables = variables._replace(upper=each)
    places = jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    form = asked([method.loss], variables, student, teachers, Batch(IMAGES, places, places))
    found = []
    for teacher in form:
        outputs = {"logits": teacher.logits, "embedding": teacher.embedding} | dict(
            enumerate(teacher.features)
        )
        found.append({name for name, output in outputs.items() if not isinstance(output, Unasked)})
    return found


LOGITS, LAST, STAGES = {"logits"}, {"logits", 2}, {"logits", 1, 2}
ASKED = {"scratch": set(), "gpac": STAGES} | dict.fromkeys(("aver", "ebkd", "amal"), LOGITS)
ASKED |= dict.fromkeys(("camkd", "fitnet", "demkd", "mkcd", "mmkd", "bomd"), LAST)


@pytest.mark.parametrize("name", ASKED)
def test_a_method_asks_for_what_its_paper_matches(name, signatures):
    assert asks(methods.create(name), signatures) == [ASKED[name]] * len(TEACHERS)


def test_settings_decide_what_is_asked(signatures):
    assert asks(methods.create("bomd", alignment=False), signatures) == [LOGITS] * len(TEACHERS)


def curious(use):
    """A method that listens to the first teacher alone, in a way of its own."""

    def loss(variables: Variables, student, teachers, batch, progress) -> Loss:
        return Loss(student.logits.mean() + use(teachers[0]), {})

    return Method(no_variables, loss)


@pytest.mark.parametrize(
    ("use", "needed"),
    [
        (lambda t: sum(jax.tree.leaves(jax.tree.map(jnp.mean, t))), {"logits", 0, 1, 2, "embedding"}),
        (lambda t: t.features[1].mean() / t.features[0].size, {1}),  # of one no more than its shape
        (lambda t: jax.lax.stop_gradient(t.embedding).mean() + len(t.features), {"embedding"}),
        (lambda t: t.logits.mean() * 0 + t.head.bias.sum(), {"logits"}),
    ],
)
def test_ways_of_own_methods(use, needed, signatures):
    assert asks(curious(use), signatures) == [needed, set()]


def test_zeros_stand_for_what_is_not_asked(signatures):
    _, teachers = signatures
    form = tuple(t._replace(head=(), embedding=Unasked(t.embedding.shape[1:], "float32")) for t in teachers)
    given = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), teachers)
    whole = complete(keep(form, given), BATCH)
    chex.assert_trees_all_equal_shapes_and_dtypes(whole, tuple(t._replace(head=()) for t in given))
    assert all((t.logits == 1).all() and (t.embedding == 0).all() for t in whole)


@pytest.fixture(scope="module")
def upper(compiled_quickly):
    """MMKD after a step, with what its next step sees, and teachers that count how often they are asked."""
    method = methods.create("mmkd", buffer_size=BATCH)
    # Adam's first step is the sign of a gradient, which rounding decides where that is near zero.
    plain = method.upper_level._replace(optimizer=optax.sgd(1.0))
    method = method._replace(upper_level=plain)
    counted = []

    def counting(network):
        def outputs(variables, images):
            counted.append(network)
            return network.outputs(variables, images)

        return network._replace(outputs=outputs)

    task = task_of(method, lambda step: 1.0)
    task = task.__class__(**(vars(task) | {"teachers": tuple(map(counting, task.teachers))}))
    key = jax.random.key(0, impl="rbg")
    teachers = tuple(jax.jit(partial(n.init, train=False))(key, jnp.zeros(SHAPE)) for n in TEACHERS)
    form = jax.eval_shape(partial(teacher_outputs, task.teachers), teachers, IMAGES)
    state = initial(key, jax.random.key(0), method, STUDENT, form, task.optimizer, IMAGES, BATCH)
    state = with_totals(task, state, teachers, SHAPE)
    every = np.arange(BATCH)
    raw = Images(np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8), every % CLASSES, every)
    seen = jax.jit(partial(observe, task))(state, teachers, raw, None)
    state, _ = jax.jit(partial(lower_update, task))(state, seen)
    counted.clear()
    return task, state, teachers, seen, counted


def test_the_upper_level_asks_no_teacher_again(upper):
    task, state, _, seen, counted = upper
    jax.eval_shape(partial(upper_update, task), state, seen)
    assert not counted


def test_the_upper_level_is_that_of_teachers_asked_anew(upper):
    task, state, teachers, seen, _ = upper
    ask = jax.jit(partial(teacher_outputs, task.teachers))
    parts = state.memory.labels.shape
    said = ask(teachers, state.memory.images.reshape(-1, *SHAPE[1:]))
    said = jax.tree.map(lambda x: x.reshape(*parts, *x.shape[1:]), [t._replace(head=()) for t in said])
    assert not isinstance(state.memory.teachers[0].logits, Unasked)
    assert isinstance(state.memory.teachers[0].embedding, Unasked)
    anew = state._replace(memory=state.memory.replace(teachers=keep(state.memory.teachers, said)))
    update = jax.jit(partial(upper_update, task))
    chex.assert_trees_all_close(update(anew, seen).upper, update(state, seen).upper, rtol=1e-4, atol=1e-6)
    wrong = jax.tree.map(lambda x: x[::-1], state.memory.teachers)
    other = update(state._replace(memory=state.memory.replace(teachers=wrong)), seen).upper
    assert optax.tree.norm(optax.tree.sub(other, update(state, seen).upper)) > 1e-5
