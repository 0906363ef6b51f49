"""Fixed views: teachers asked once, kept outputs that are what they would say, and files that do not fit."""

import dataclasses
import json
import shutil
from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jkd import run
from jkd.data import view_of_epoch
from jkd.distillation.distil import Faculty, distil
from jkd.distillation.views import in_views
from jkd.errors import UserError
from jkd.experiments.cli import run_method
from jkd.experiments.precompute import run_precompute
from jkd.models import create
from jkd.planning.experiment import Experiment
from jkd.planning.plan import plan
from jkd.steps.asking import teacher_outputs
from jkd.steps.images import Batches
from jkd.steps.step import lower_update, observe
from jkd.teachers import Teacher
from jkd.teachers.recorded import Recorded
from jkd.training.beginning import begin
from jkd.training.source import Source

VIEWS = 2


@pytest.fixture(scope="module")
def settings(tiny_npz, tmp_path_factory, compiled_quickly):
    folder = tmp_path_factory.mktemp("views")
    return tiny.settings(folder, dataset=f"npz:{tiny_npz}", teacher_epochs=1, teacher_views=VIEWS)


def planned(settings, method="fitnet", **more):
    return plan(Experiment.of(method, **settings | more))


@pytest.fixture(scope="module")
def opened(settings):
    """A training in views, with the state before its first step, and the same training with its teachers."""
    decided = planned(settings)
    faculty = Faculty.of(decided)
    variables = tuple(teacher.variables for teacher in faculty.teachers)
    state, signatures = begin(decided.job, variables)
    job, taught = in_views(decided, faculty.teachers, faculty.rating, state, signatures)
    return job, taught, state, decided.job, variables


@pytest.fixture(scope="module")
def folder(settings, opened):
    """The folder of outputs, with all views."""
    for view in range(VIEWS):
        opened[1].views.said(view, lambda: 0)
    (found,) = (Path(settings["teacher_dir"]) / "outputs").iterdir()
    return found


def first_batch(source, job):
    order = job.train_indices[: job.batch_size][None]
    data, draw, _ = next(source.calls(order, 0, 1, lambda step, end: 1))
    if isinstance(data, Batches):
        return jax.tree.map(lambda column: column[:, 0], data.train)
    return jax.tree.map(lambda column: column[draw.train[0]], data)


def without(settings, folder, **more):
    return {name: value for name, value in settings.items() if name != "teachers"} | {
        "teacher_outputs": str(folder),
        **more,
    }


def test_kept_outputs_are_what_the_teachers_say_of_what_the_student_sees(opened, folder):
    job, taught, state, asking, variables = opened
    source = Source(job, taught.views)
    learn, ask = (
        jax.jit(partial(lower_update, job.task)),
        jax.jit(partial(teacher_outputs, asking.task.teachers)),
    )
    show = jax.jit(partial(observe, job.task))
    seen = {}
    for epoch in range(VIEWS):
        assert source.epoch(epoch, lambda: 0)
        raw = first_batch(source, job)
        kept = show(state, taught.teachers, raw, None)
        (teachers,) = said = ask(variables, kept.batch.images)
        half = np.finfo(np.float16).eps
        chex.assert_trees_all_close(kept.teachers[0].logits, teachers.logits, rtol=half, atol=1e-4)
        chex.assert_trees_all_close(
            kept.teachers[0].features[-1], teachers.features[-1], rtol=half, atol=1e-4
        )
        anew = kept._replace(teachers=said)
        losses = [float(learn(state, one)[1]["loss"]) for one in (kept, anew)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        seen[epoch] = np.asarray(kept.batch.images)
    assert (seen[0] != seen[1]).any()


def test_a_view_of_an_image_is_a_function_of_the_two(opened):
    augmentation, images = opened[0].task.augmentation, opened[0].dataset.train_images
    augmentation = dataclasses.replace(augmentation, flip=True)
    show = jax.jit(augmentation.in_views)
    some, others = np.array([5, 9, 30]), np.array([30, 70, 5])
    views = jnp.array([3, 3, 1])
    first, second = (np.asarray(show(views, at, images[at])) for at in (some, others))
    (again,) = np.asarray(show(jnp.array([1]), np.array([30]), images[[30]]))
    np.testing.assert_array_equal(first[2], again)
    assert (first[0] != second[2]).any()  # the same image in another view
    same = np.stack([np.asarray(show(jnp.array([v]), np.array([5]), images[[5]])) for v in range(12)])
    assert len(np.unique(same, axis=0)) > 4


def test_each_view_comes_once_in_as_many_epochs():
    for seed in range(3):
        order = [view_of_epoch(seed, epoch, 5) for epoch in range(20)]
        turns = [order[start : start + 5] for start in range(0, 20, 5)]
        assert all(sorted(turn) == [0, 1, 2, 3, 4] for turn in turns)
        assert len({tuple(turn) for turn in turns}) > 1


def test_the_compiled_programs_hold_no_teacher(opened):
    job, taught, state, asking, variables = opened
    source = Source(job, taught.views)
    source.epoch(0, lambda: 0)
    raw = first_batch(source, job)
    fresh = raw._replace(views=(), said=())
    program = jax.make_jaxpr(lambda s, t, r: observe(job.task, s, t, r, None))
    with_teachers = jax.make_jaxpr(lambda s, t, r: observe(asking.task, s, t, r, None))
    assert "conv_general_dilated" in str(with_teachers(state, variables, fresh))
    assert "conv_general_dilated" not in str(program(state, taught.teachers, raw))
    assert sum(x.size for x in jax.tree.leaves(taught.teachers)) == 8 * 4 + 4


@pytest.fixture(scope="module")
def learned(settings, folder):
    return distil(planned(settings, workdir=folder.parent / "with"))


def test_wherever_outputs_are_read_from_they_are_the_same(opened, folder):
    job, taught, state, *_ = opened
    show = jax.jit(lambda state, raw: observe(job.task, state, taught.teachers, raw, None))
    seen = {}
    for place in ("device", "host", "file", None):
        source = Source(job, taught.views._replace(place=place))
        source.epoch(1, lambda: 0)
        assert isinstance(source._said[0].logits, np.memmap) == (place == "file")
        seen[place] = show(state, first_batch(source, job))
    for other in ("host", "file", None):
        chex.assert_trees_all_equal(seen[other], seen["device"])


def test_a_run_without_teachers_is_the_same_run(settings, folder, learned, tmp_path):
    handed_over = shutil.copytree(folder, tmp_path / "outputs")
    decided = planned(without(settings, handed_over, workdir=tmp_path / "run"))
    assert all(isinstance(teacher, Recorded) for teacher in decided.teachers)
    assert decided.identity == planned(settings).identity
    alone = distil(decided)
    assert alone.summary["last"] == learned.summary["last"]
    assert alone.summary["teachers"] == learned.summary["teachers"]
    assert run.read(tmp_path / "run").records[0]["train/loss"] == learned.records[0]["train/loss"]


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def forget(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "view1" not in line))


def other_format(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))


DAMAGES = {
    "a flipped bit": ("view0-0.logits.npy", flip_a_bit, "is damaged"),
    "a file cut short": ("view1-0.features.1.npy", cut, "is damaged"),
    "a missing file": ("view1-0.logits.npy", lambda path: path.unlink(), "is damaged"),
    "a view that is not there": ("views.jsonl", forget, "lacks view1-0"),
    "the heads damaged": ("teachers.npz", cut, "is damaged"),
    "another jkd's": ("about.json", other_format, "format 99"),
    "no such folder": ("about.json", lambda path: path.unlink(), "no about.json"),
}


QUICK = ("a flipped bit", "a view that is not there", "the heads damaged")


@pytest.mark.parametrize(
    "what", [what if what in QUICK else pytest.param(what, marks=pytest.mark.slow) for what in DAMAGES]
)
def test_outputs_that_are_damaged_or_missing_are_told(settings, folder, tmp_path, what):
    name, damage, told = DAMAGES[what]
    outputs = shutil.copytree(folder, tmp_path / "outputs")
    damage(outputs / name)
    with pytest.raises(UserError, match=told) as mistake:
        distil(planned(without(settings, outputs, workdir=tmp_path / "run")))
    assert "\n" not in str(mistake.value)


MISFITS = {
    "other augmentation": ({"crop": False}, "augmentation.crop_padding: 1 there, 0 here"),
    "another data set": ({"dataset": "digits"}, "dataset: "),
    "another type": ({"dtype": "bfloat16"}, "computed_in: float32 there, bfloat16 here"),
    "teachers in another type": ({"teacher_dtype": "bfloat16"}, "computed_in: float32 there, bfloat16 here"),
    "more views": ({"teacher_views": 3}, "lacks view2-0.logits.npy and 1 more of view 2"),
    "a method that asks for more": ({"method": "gpac"}, "gpac looks at what teachers say of images as they"),
    "no views": ({"teacher_views": 0}, "needs --teacher-views=V"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_outputs_that_do_not_fit_are_refused_before_anything_is_trained(settings, folder, tmp_path, what):
    more, told = MISFITS[what]
    with pytest.raises(UserError) as mistake:
        planned(**{"settings": without(settings, folder, workdir=tmp_path / "run"), "epochs": 1, **more})
    assert told in str(mistake.value)
    assert not (tmp_path / "run").exists()


def test_other_teachers_are_refused(settings, folder, tmp_path):
    other = settings | {"teachers": ["tiny:seed=7:untrained"], "teacher_outputs": str(folder)}
    with pytest.raises(UserError, match=r"teachers\.0\.weights: .* there, .* here"):
        distil(planned(other, workdir=tmp_path / "run"))


def test_numbers_beyond_half_precision_are_told(settings, opened, tmp_path):
    *_, (variables,) = opened
    teacher = Teacher.of(create("tiny", 4), jax.tree.map(lambda x: x * 1e6, variables), "loud")
    with pytest.raises(UserError, match="loud gives numbers beyond the range of half precision"):
        distil(planned(settings, teachers=[teacher], workdir=tmp_path / "run", teacher_dir=str(tmp_path)))


def test_the_command_line_writes_outputs_and_learns_from_them(settings, tmp_path, capsys, monkeypatch):
    shared = [f"--dataset={settings['dataset']}", "--teacher-views=1"]
    shared += [f"--teacher-outputs={tmp_path / 'out'}"]
    shared += ["--batch-size=64", f"--cache-dir={settings['cache_dir']}"]
    asks = ["--teachers=tiny", "--teacher-epochs=1", "--learning-rate=0.02"]
    run_precompute(["aver", *shared, *asks, "--student=tiny", f"--teacher-dir={settings['teacher_dir']}"])
    assert f"the teachers' outputs are in {tmp_path / 'out'}" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)  # where there is no teacher
    alone = ["--student=tiny", "--epochs=1", "--workdir=run"]
    run_method("aver", [*shared, *alone])
    assert "run is finished" in capsys.readouterr().out
    assert not (tmp_path / "teachers").exists()
    with pytest.raises(SystemExit) as stopped:
        run_method("fitnet", [*shared, *alone])
    told = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "lacks view0-0.features.1.npy, and there are no teachers to ask" in told
    assert told.count("\n") == 1
