"""Teachers with poorer lessons are runs of their own, known by what they were taught."""

import numpy as np
import pytest
import tiny

import jkd
from jkd.distillation.distil import Faculty


@pytest.fixture
def given(tiny_npz, tmp_path):
    return tiny.settings(tmp_path, dataset=f"npz:{tiny_npz}", epochs=1)


def test_each_lesson_makes_another_teacher(given):
    names = ["tiny", "tiny:wrong-labels=0.4", "tiny:wrong-labels=0.5", "tiny:classes=0-1", "tiny:grey"]
    names += ["tiny:resolution=0.25", "tiny:untrained"]
    given |= {"teachers": [f"{name}:seed=0" for name in names]}
    plan = jkd.plan("aver", **given)
    assert len({str(row) for row in plan.identity["teachers"]}) == len(names)
    assert len({teacher.folder for teacher in plan.teachers}) == len(names)
    plain = jkd.plan("aver", **given | {"teachers": ["tiny"]})
    assert plain.teachers[0].identity == plan.teachers[0].identity, "a good one is as it was"
    assert "lessons" not in plan.teachers[0].identity


def test_an_expert_is_trained_on_its_classes_and_tested_on_all(given):
    (expert,) = jkd.plan("aver", **given | {"teachers": ["tiny:classes=2-3"]}).teachers
    labels = expert.job.dataset.train_labels[expert.job.train_indices]
    assert set(labels) == {2, 3} and len(labels) < len(expert.job.dataset.train_labels)
    assert set(expert.job.dataset.test_labels) == {0, 1, 2, 3}
    with pytest.raises(
        jkd.UserError, match=r"tiny-seed0:classes=2-9: .*there is no class 9; there are 0 to 3"
    ):
        jkd.plan("aver", **given | {"teachers": ["tiny:classes=2-9"]})


@pytest.mark.slow
def test_a_student_learns_from_the_untrained_and_the_wrongly_taught(given, capsys):
    given |= {"teachers": ["tiny:untrained", "tiny:wrong-labels=1"], "epochs": 2}
    plan = jkd.plan("aver", **given)
    assert plan.teachers[0].untrained and not plan.teachers[1].untrained
    student = jkd.distil("aver", **given)
    names = [row["name"] for row in student.summary["teachers"]]
    assert names == ["tiny-seed0:untrained", "tiny-seed1:wrong-labels=1"]
    assert "the training images are taught as wrong-labels=1, drawn with seed 1" in capsys.readouterr().out
    assert not plan.teachers[0].folder.exists(), "nothing is trained for it"
    ready = Faculty.of(plan).teachers
    again = Faculty.of(plan).teachers
    assert ready[0].fingerprint == again[0].fingerprint != ready[1].fingerprint
    assert np.isfinite(student.summary["last"]["test/top1"])
