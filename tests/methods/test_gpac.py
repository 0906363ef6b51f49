"""GPAC: which teacher its probes select, and what follows from the selection."""

from functools import cache

import chex
import jax
import numpy as np
import pytest

from jkd.losses.logits import kd_by_class
from jkd.methods import Batch, TeacherOutputs, Variables
from jkd.methods.base import Examples
from jkd.methods.gpac import attention_level, gpac, matching_stage
from jkd.models import Head, Outputs
from jkd.weighting import gpac_class_corrector

CLASSES, BATCH = 3, 6
METHOD = gpac()
STAGES = ((8, 8, 2), (8, 8, 3), (4, 4, 5), (2, 2, 4))  # the stem and three stages
DEEP = ((6, 6, 2), (6, 6, 3), (6, 6, 3), (3, 3, 5), (3, 3, 5))  # a stem and four


@cache
def problem():
    rng = np.random.default_rng(0)

    def outputs(shapes):
        maps = tuple(rng.standard_normal((BATCH, *shape)).astype(np.float32) for shape in shapes)
        logits = rng.standard_normal((BATCH, CLASSES)).astype(np.float32)
        return Outputs(logits, maps, maps[-1].mean((1, 2)))

    def teacher(shapes):
        head = Head(np.zeros((shapes[-1][-1], CLASSES), np.float32), np.zeros(CLASSES, np.float32))
        return TeacherOutputs(*outputs(shapes), head)

    batch = Batch(np.zeros((BATCH, 8, 8, 3), np.float32), rng.integers(0, CLASSES, BATCH))
    return outputs(STAGES), (teacher(STAGES), teacher(DEEP)), batch


def chosen(*teachers):
    """A selection of one of two teachers for each stage."""
    return Variables(state=np.eye(2, dtype=np.float32)[list(teachers)])


LOSS = jax.jit(METHOD.loss)


def test_the_attention_has_three_levels():
    levels = [float(attention_level(p)) for p in (0, 0.33, 0.34, 0.66, 0.67, 0.99)]
    np.testing.assert_allclose(levels, [1, 1, 0.5, 0.5, 0.1, 0.1])
    student, teachers, batch = problem()
    for progress, level in ((0.1, 1), (0.5, 0.5), (0.9, 0.1)):
        result = LOSS(chosen(0, 1, 0), student, teachers, batch, progress)
        m = result.metrics
        np.testing.assert_allclose(result.value, m["ce"] + m["kd"] + 10 * level * m["attention"], rtol=1e-6)


def test_the_corrector_may_weigh_each_class():
    student, teachers, batch = problem()
    batch = batch._replace(labels=student.logits.argmax(-1))  # so that all teachers are trusted
    teachers = tuple(t._replace(logits=6 * t.logits) for t in teachers)
    logits = np.stack([t.logits for t in teachers])
    result = jax.jit(gpac(corrector="class").loss)(chosen(0, 1, 0), student, teachers, batch, 0.0)
    weights = gpac_class_corrector(student.logits, logits, batch.labels, 4.0)
    parts = np.stack([kd_by_class(student.logits, t, 4.0) for t in logits])
    np.testing.assert_allclose(result.metrics["kd"], (weights * parts).sum((0, 2)).mean(), rtol=1e-5)
    np.testing.assert_allclose(result.metrics["weight_logits"], weights.mean((1, 2)), rtol=1e-5)
    m = result.metrics
    np.testing.assert_allclose(result.value, m["ce"] + m["kd"] + 10 * m["attention"], rtol=1e-6)
    assert abs(m["kd"] - LOSS(chosen(0, 1, 0), student, teachers, batch, 0.0).metrics["kd"]) > 1e-4


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("others", [1, 2, 3, 4, 7])
def test_stages_are_matched_from_end_to_end(stages, others):
    matched = [matching_stage(i, stages, others) for i in range(stages)]
    assert matched[-1] == others - 1
    assert matched[0] == (0 if stages > 1 else others - 1)
    assert matched == sorted(matched)
    if stages == others:
        assert matched == list(range(stages))
    if stages > others:
        assert set(matched) == set(range(others))


def test_only_the_selected_teachers_stage_is_learned_from():
    student, teachers, batch = problem()
    variables = chosen(0, 1, 0)
    before = LOSS(variables, student, teachers, batch, 0.0)

    def with_other(k, stage):
        maps = list(teachers[k].features)
        maps[stage] = maps[stage][::-1]
        changed = list(teachers)
        changed[k] = teachers[k]._replace(features=tuple(maps))
        return LOSS(variables, student, tuple(changed), batch, 0.0).value

    assert with_other(0, 2) == before.value  # stage 2 learns from the other teacher
    assert with_other(1, 4) == before.value
    assert with_other(0, 0) == before.value  # nobody learns from a stem
    for k, stage in ((0, 1), (1, 3), (0, 3)):
        assert abs(with_other(k, stage) - before.value) > 1e-3
    chex.assert_trees_all_equal(before.state, variables.state)


def test_the_order_of_the_teachers_does_not_matter():
    student, teachers, batch = problem()
    here = LOSS(chosen(0, 1, 1), student, teachers, batch, 0.0)
    there = LOSS(chosen(1, 0, 0), student, teachers[::-1], batch, 0.0)
    np.testing.assert_allclose(here.value, there.value, rtol=1e-6)
    np.testing.assert_allclose(here.metrics["weight_logits"], there.metrics["weight_logits"][::-1], rtol=1e-6)


def test_a_student_equal_to_its_teachers_has_only_the_labels_to_learn():
    student, (teacher, _), batch = problem()
    same = teacher._replace(**student._asdict())
    result = LOSS(chosen(0, 1, 0), student, (same, same), batch, 0.0)
    np.testing.assert_allclose(result.value, result.metrics["ce"], rtol=1e-5)


def test_before_the_probes_all_teachers_are_alike():
    student, teachers, _ = problem()
    variables = METHOD.init(jax.random.key(0), student, teachers)
    np.testing.assert_allclose(variables.state, np.full((3, 2), 0.5))


def examples(count, clear):
    """Examples whose features tell the class where `clear[teacher][stage]`, and are noise elsewhere."""
    rng = np.random.default_rng(count)
    labels = np.arange(count) % CLASSES
    signal = 4 * np.eye(5)[labels]
    features = [
        tuple((100 * (rng.standard_normal((count, 5)) + c * signal)).astype(np.float32) for c in row)
        for row in clear
    ]
    return Examples(labels, lambda function: features), features


# By teacher and stage; the second teacher has four stages for the student's three.
CLEAR = ((0, 1, 1), (1, 0, 0, 0))


@pytest.fixture(scope="module")
def found():
    train, _ = examples(240, CLEAR)
    held_out, _ = examples(60, CLEAR)
    return METHOD.prepare(np.zeros((3, 2)), ("a", "b"), train, held_out)


class TestProbes:
    def test_the_best_rated_teacher_is_selected_for_each_stage(self, found):
        assert found.report["selected"] == ["b", "a", "a"]
        chex.assert_trees_all_equal(found.state, chosen(1, 0, 0).state)

    def test_accuracies_are_of_the_kept_probes_on_the_held_out_images(self, found):
        held_out, features = examples(60, CLEAR)
        for k, row in enumerate(CLEAR):
            rated = found.report["probes"][k]["accuracy"]
            for i, clear in enumerate(row):
                kernel, bias = (found.arrays[f"teacher{k}_stage{i + 1}_{n}"] for n in ("kernel", "bias"))
                right = (features[k][i] @ kernel + bias).argmax(1) == held_out.labels
                assert rated[i] == pytest.approx(right.mean())
                assert rated[i] > 0.9 if clear else rated[i] < 0.6

    def test_the_report_names_the_teachers_and_the_selection(self, found):
        text = found.text
        assert "60 held-out images" in text
        assert "1 from b, 2 from a, 3 from a" in text

    def test_of_equally_rated_teachers_the_first_is_selected(self):
        clear = ((1,), (1,))
        train, held_out = examples(60, clear)[0], examples(30, clear)[0]
        found = METHOD.prepare(np.zeros((1, 2)), ("a", "b"), train, held_out)
        assert [row["accuracy"] for row in found.report["probes"]] == [[1.0], [1.0]]
        assert found.report["selected"] == ["a"]
