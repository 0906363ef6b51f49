"""How teachers see images: in their own normalisation and size, whatever the student's."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jkd
from jkd.data.lessons import Lessons
from jkd.errors import UserError
from jkd.steps.asking import teacher_outputs
from jkd.steps.images import Augmentation
from jkd.teachers import parse, register

OURS = Augmentation(0, False, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)


def seen(**view):
    """What a teacher is shown of the images that the student's normalisation made."""
    shown = []

    def apply(variables, images):
        shown.append(images)
        return images.mean((1, 2))

    teacher = jkd.Teacher(apply, (), **view)
    teacher.network(OURS).outputs((), OURS.evaluate(PIXELS))
    return np.asarray(shown[0])


def test_without_more_it_sees_what_the_student_sees():
    chex.assert_trees_all_equal(seen(), np.asarray(OURS.evaluate(PIXELS)))
    chex.assert_trees_all_equal(seen(mean=OURS.mean, std=OURS.std, image_size=8), seen())


channels = st.tuples(*[st.floats(0.01, 1)] * 3)


@settings(deadline=None, max_examples=30)
@given(mean=channels, std=channels)
def test_its_own_normalisation_is_that_of_the_images_themselves(mean, std):
    np.testing.assert_allclose(seen(mean=mean, std=std), (PIXELS / 255 - mean) / std, rtol=1e-3, atol=1e-3)


def test_its_own_size():
    images = seen(mean=0, std=1, image_size=16)
    chex.assert_shape(images, (4, 16, 16, 3))
    np.testing.assert_allclose(images.mean((1, 2)), (PIXELS / 255).mean((1, 2)), atol=0.02)
    chex.assert_shape(seen(image_size=4), (4, 4, 4, 3))


def test_it_never_gets_a_gradient():
    teacher = jkd.Teacher(lambda v, x: v * x.mean((1, 2)), jnp.ones(3))
    networks = (teacher.network(OURS),)

    def total(variables, images):
        return teacher_outputs(networks, (variables,), images)[0].logits.sum()

    gradients = jax.grad(total, argnums=(0, 1))(teacher.variables, OURS.evaluate(PIXELS))
    chex.assert_trees_all_equal(gradients, jax.tree.map(jnp.zeros_like, gradients))


def test_an_exported_program_can_teach():
    matrix = np.random.default_rng(1).standard_normal((8 * 8 * 3, 4)).astype(np.float32)
    batch = jax.export.symbolic_shape("batch")[0]
    shape = jax.ShapeDtypeStruct((batch, 8, 8, 3), jnp.float32)
    exported = jax.export.export(jax.jit(lambda x: x.reshape(x.shape[0], -1) @ matrix))(shape)
    teacher = jkd.Teacher(lambda v, images: exported.call(images), (), name="exported")
    images = OURS.evaluate(PIXELS)
    logits = jax.jit(lambda x: teacher.network(OURS).outputs((), x).logits)(images)
    np.testing.assert_allclose(logits, np.asarray(images).reshape(4, -1) @ matrix, rtol=1e-4, atol=1e-4)


def test_a_path_with_a_view(tmp_path):
    path = tmp_path / "weights.npz"
    path.touch()
    spec = f"resnet8@{path}"
    (plain,) = parse([spec], 0)
    assert (plain.architecture, plain.path, plain.mean, plain.image_size) == ("resnet8", path, None, None)
    (own,) = parse([f"{spec}:mean=0.5/0.4/0.3:std=0.25:size=32:accuracy=74.64"], 0)
    assert own.accuracy == 74.64 and plain.accuracy is None
    assert own.mean == (0.5, 0.4, 0.3) and own.std == (0.25,) * 3 and own.image_size == 32
    for wrong, words in {
        ":mean=1/2": "three, one for each channel",
        ":std=0": "above 0",
        ":size=big": "'size=big' cannot be read",
        ":men=1": "'men=1' cannot be read",
        ":accuracy=good": "'accuracy=good' cannot be read",
        ":accuracy=0.7464": "in percent",
    }.items():
        with pytest.raises(UserError, match=words):
            parse([spec + wrong], 0)


def test_each_of_an_architecture_gets_the_next_seed():
    found = parse(["resnet8", "wrn_16_1", "resnet8"], 5)
    assert [teacher.name for teacher in found] == ["resnet8-seed5", "wrn_16_1-seed5", "resnet8-seed6"]


def test_a_registered_teacher_is_one_of_the_names():
    made = jkd.Teacher(lambda v, x: x, (), name="made")
    register("handmade", lambda: made)
    assert parse(["handmade", "resnet8"], 0)[0] is made
    with pytest.raises(UserError, match="did you mean 'handmade'"):
        parse(["handmad"], 0)
    with pytest.raises(UserError, match="is an architecture"):
        register("resnet8", lambda: made)
    register("oddly", lambda: 3)
    with pytest.raises(UserError, match="gives a int, not a Teacher"):
        parse(["oddly"], 0)


def test_teachers_of_one_architecture_get_the_seeds_it_has_not_had():
    names = ["resnet8", "resnet8:wrong-labels=0.4", "resnet8:seed=7", "wrn_16_1", "resnet8:seed=2", "resnet8"]
    found = parse(names, first_seed=0)
    assert [named.seed for named in found] == [0, 1, 7, 0, 2, 3]
    assert [named.name for named in found[:3]] == [
        "resnet8-seed0",
        "resnet8-seed1:wrong-labels=0.4",
        "resnet8-seed7",
    ]


POORER = {
    "resnet8:classes=14-19": (Lessons(classes=(14, 19)), False),
    "resnet8:grey:resolution=0.25": (Lessons(grey=True, resolution=0.25), False),
    "resnet8:untrained": (Lessons(), True),
}


@pytest.mark.parametrize("text", POORER)
def test_a_poorer_teacher_is_read(text):
    (named,) = parse([text], first_seed=4)
    assert (named.lessons, named.untrained, named.seed) == (*POORER[text], 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet8:gray", "'gray' cannot be read; after the architecture may stand :untrained"),
        ("resnet8:classes=5", "'classes=5' cannot be read.*:classes=FIRST-LAST"),
        ("resnet8:classes=6-5", "classes=6-5 must be FIRST-LAST"),
        ("resnet8:wrong-labels=1.5", "wrong-labels=1.5 must be 0 to 1"),
        ("resnet8:wrong-labels=nan", "wrong-labels=nan must be 0 to 1"),
        ("resnet8:resolution=0", "resolution=0 must be above 0"),
        ("resnet8:seed=-1", "seed=-1 must be 0 to 4294967295"),
        ("resnet8:untrained:grey", "an untrained teacher has had no lessons"),
        ("resnet88:grey", "unknown network 'resnet88'.*did you mean 'resnet8'"),
    ],
)
def test_a_poorer_teacher_that_cannot_be_is_told(text, words):
    with pytest.raises(UserError, match=words):
        parse([text], first_seed=0)
