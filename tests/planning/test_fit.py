"""Networks that are not jkd's: what a method cannot use is refused in one line before anything is trained."""

import os

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import Tiny

import jkd
from jkd.models import Outputs


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def linear(classes=10, name="linear", pixels=16 * 16 * 3, **view):
    matrix = np.zeros((pixels, classes), np.float32)
    return jkd.Teacher(lambda v, x: x.reshape(len(x), -1) @ v, matrix, name=name, **view)


def featured(head=None):
    network = Tiny(10)
    variables = jax.eval_shape(
        lambda: network.init(jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32), False)
    )
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variables)
    return jkd.Teacher(lambda v, x: network.apply(v, x, False), variables, name="featured", head=head)


@pytest.mark.parametrize("method", ["aver", "aekd", "ebkd", "scratch"])
def test_logits_are_enough_for_methods_on_logits(method):
    plan = jkd.plan(method, teachers=[linear(), "resnet8"], student="logits_alone", epochs=1)
    assert f"method    {method}" in str(plan) and len(plan.teachers) == (0 if method == "scratch" else 2)


@pytest.mark.parametrize("method", ["fitnet", "camkd", "bomd", "mmkd", "demkd", "gpac", "amtmlkd", "mkcd"])
def test_a_method_on_features_refuses_a_teacher_of_logits_alone(method):
    with pytest.raises(jkd.UserError, match=f"{method} needs more of a network: linear gives no"):
        jkd.plan(method, teachers=["resnet8", linear()], epochs=1)
    assert not os.listdir()


def test_a_method_on_features_refuses_a_student_of_logits_alone():
    with pytest.raises(jkd.UserError, match="fitnet needs more of a network: logits_alone gives no features"):
        jkd.plan("fitnet", teachers=["resnet8"], student="logits_alone", epochs=1)


def test_a_head_is_asked_for_where_it_is_needed():
    jkd.plan("fitnet", teachers=[featured()], epochs=1)
    with pytest.raises(jkd.UserError, match="camkd needs more of a network: featured gives no head"):
        jkd.plan("camkd", teachers=[featured()], epochs=1)
    jkd.plan("camkd", teachers=[featured(jkd.models.head)], epochs=1)


MISTAKES = {
    "other classes": (linear(7, "seven"), r"seven gives logits of shape \(64, 7\), should be \(64, 10\)"),
    "other size": (linear(name="small", pixels=12), "small cannot be applied to a batch of images 64 × 16"),
    "no outputs": (
        jkd.Teacher(lambda v, x: {"a": x}, (), name="odd"),
        "odd gives dict; a network gives logits",
    ),
    "own error": (jkd.Teacher(lambda v, x: 1 / 0, (), name="broken"), "broken cannot be applied .*division"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_teacher_that_does_not_fit_is_told_in_one_line(name):
    teacher, words = MISTAKES[name]
    with pytest.raises(jkd.UserError, match=words) as told:
        jkd.plan("aver", teachers=[teacher], epochs=1)
    assert "\n" not in str(told.value)


def test_a_type_that_a_network_does_not_take_is_refused():
    for student in ("logits_alone", Tiny(10)):
        with pytest.raises(jkd.UserError, match="bfloat16"):
            jkd.plan("scratch", student=student, dtype="bfloat16")


def test_a_size_of_its_own_mends_it():
    (teacher,) = jkd.plan("aver", teachers=[linear(pixels=8 * 8 * 3, image_size=8)], epochs=1).teachers
    assert teacher.name == "linear" and teacher.image_size == 8


def test_what_a_teacher_cannot_be():
    with pytest.raises(jkd.UserError, match=r"a teacher is Teacher\(apply, variables\)"):
        jkd.Teacher({"params": 1}, ())
    with pytest.raises(jkd.UserError, match="std is 0; give one number above 0, or three"):
        linear(std=0)
    with pytest.raises(jkd.UserError, match=r"mean is \(0.5, 0.5\)"):
        linear(mean=(0.5, 0.5))


def test_an_nnx_module_is_a_student_by_flax_own_bridge():
    class Net(nnx.Module):
        def __init__(self, classes, *, rngs):
            self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(4, rngs=rngs)
            self.out = nnx.Linear(4, classes, rngs=rngs)

        def __call__(self, images, train):
            x = self.norm(self.conv(images), use_running_average=not train)
            embedding = x.mean((1, 2))
            return Outputs(self.out(embedding), (x,), embedding)

    plan = jkd.plan("fitnet", teachers=["resnet8"], student=nnx.bridge.to_linen(Net, 10), epochs=1)
    assert "method    fitnet" in str(plan) and len(plan.teachers) == 1
