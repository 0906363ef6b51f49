"""What teachers compute in when they teach, beside what they and the student are trained in."""

import chex
import jax
import numpy as np
import pytest
import tiny

import jkd


@pytest.fixture
def given(tiny_npz, tmp_path, compiled_quickly):
    return tiny.settings(tmp_path, dataset=f"npz:{tiny_npz}", epochs=1)


def test_teachers_alone_compute_in_it(given):
    plans = [jkd.plan("aver", **given, teacher_dtype=dtype) for dtype in (None, "bfloat16")]
    images = np.random.default_rng(0).normal(size=(64, 8, 8, 3)).astype(np.float32)
    (teacher,) = plans[0].teachers
    assert plans[1].teachers[0].folder == teacher.folder  # trained in the type of training
    variables = teacher.job.task.student.init(jax.random.key(0), images, train=False)
    theirs = [plan.job.task.teachers[0].outputs(variables, images) for plan in plans]
    ours = [plan.job.task.student.apply(variables, images, train=False) for plan in plans]
    chex.assert_trees_all_equal(*ours)
    for exact, rounded in zip(*theirs, strict=True):
        chex.assert_trees_all_close(exact, rounded, rtol=0.05, atol=0.02)
    assert np.abs(theirs[0].embedding - theirs[1].embedding).max() > 1e-5  # bfloat16 has 8 bits

    student = jkd.distil("aver", **given, teacher_dtype="bfloat16")
    exact = plans[0].identity["teachers"]
    assert student.config["teachers"] == [exact[0] | {"dtype": "bfloat16"}]


def test_the_type_of_training_is_no_other(given):
    plain = jkd.plan("aver", **given)
    assert jkd.plan("aver", **given, teacher_dtype="float32").identity == plain.identity


def test_teachers_that_are_given_have_their_own(given):
    given["teachers"] = [jkd.Teacher(lambda variables, images: images.mean((1, 2)), {}, name="mine")]
    with pytest.raises(
        jkd.UserError, match="--teacher-dtype=bfloat16: mine is given and computes in the type"
    ):
        jkd.plan("aver", **given, teacher_dtype="bfloat16")
