"""The student that a run leaves: what it predicts, and that it comes back from the folder."""

import json
import shutil

import chex
import jax
import numpy as np
import pytest
from tiny import LogitsAlone, Tiny, settings

import jkd
from jkd.data import Data, load
from jkd.experiments.cli import run_method
from jkd.planning.identity import digest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("students")


@pytest.fixture(scope="module")
def data(tiny_npz):
    with np.load(tiny_npz) as arrays:
        return Data(**arrays, classes=("zero", "one", "two", "three"))


@pytest.fixture(scope="module")
def student(folder, data):
    return jkd.distil("aver", dataset=data, **settings(folder, validation=0.2))


@pytest.fixture(scope="module")
def deployed(folder, data):
    return jkd.distil("mkcd", dataset=data, **settings(folder, workdir=str(folder / "mkcd")))


def test_it_says_who_it_is(student, folder):
    assert student.folder == folder / "run"
    assert student.classes == ("zero", "one", "two", "three")
    assert [record["epoch"] for record in student.records] == [1, 2]
    assert "Tiny" in repr(student) or "tiny by aver, test top-1" in repr(student)


def test_probabilities_are_those_behind_the_reported_accuracy(student, data):
    probabilities = student.predict(data.x_test)
    chex.assert_shape(probabilities, (len(data.x_test), 4))
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    top1 = np.mean(probabilities.argmax(1) == data.y_test)
    assert top1 == pytest.approx(student.summary["last"]["test/top1"])
    assert student.evaluate(data)["top1"] == pytest.approx(top1)


def test_images_come_in_any_form(student, data):
    images = load(data).test_images[:8]  # [n, h, w, 3]
    expected = student.logits(images)
    half = (images / 255).astype(np.float16)
    for same in (images[..., :1], images[..., 0], images / 255, half, list(images)):
        np.testing.assert_allclose(student.logits(same), expected, atol=0.02)
    larger = np.repeat(np.repeat(images, 4, 1), 4, 2)
    chex.assert_shape(student.logits(larger), (8, 4))
    np.testing.assert_allclose(student.logits(larger), student.logits(larger / 255), atol=0.2)
    chex.assert_shape(student.predict(images[:0]), (0, 4))


def test_a_larger_image_is_scaled_as_a_data_set_is(student, data):
    larger = Data(*(np.repeat(np.repeat(x, 2, 1), 2, 2) if x.ndim == 3 else x for x in arrays(data)))
    scaled = load(larger, image_size=8).test_images
    chex.assert_trees_all_equal(student.logits(larger.x_test), student.logits(scaled))


def arrays(data):
    return data.x_train, data.y_train, data.x_test, data.y_test


MISTAKES = {
    "one image": (np.zeros((8, 8, 3), np.uint8), "of a single image make images.None."),
    "standardised": (np.full((1, 8, 8, 3), -0.5), "float images are from -0.5"),
    "0 to 255 as floats": (np.full((1, 8, 8, 3), 255.0), r"must be in \[0, 1\]"),
    "integers": (np.zeros((1, 8, 8, 3), np.int32), "type int32; they must be uint8"),
    "channels first": (np.zeros((2, 3, 8, 8), np.uint8), r"shape \(2, 3, 8, 8\)"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_are_no_images_is_told(student, name):
    images, words = MISTAKES[name]
    with pytest.raises(jkd.UserError, match=words):
        student.predict(images)


def test_it_comes_back_from_the_folder(student, data):
    again = jkd.load(student.folder)
    chex.assert_trees_all_equal(again.variables, student.variables)
    chex.assert_trees_all_equal(again.predict(data.x_test), student.predict(data.x_test))
    assert again.summary == student.summary and again.classes == student.classes
    standardised = (load(data).test_images / 255.0 - again.config["dataset"]["mean"]) / again.config[
        "dataset"
    ]["std"]
    direct = again.model.apply(again.variables, standardised.astype(np.float32), train=False).logits
    np.testing.assert_allclose(direct, again.logits(data.x_test), rtol=1e-4, atol=1e-4)


def test_the_student_of_mkcd_is_the_deployed_one(deployed, data):
    last = deployed.summary["last"]
    again = jkd.load(deployed.folder)
    for student in (deployed, again):
        assert student.evaluate(data)["top1"] == pytest.approx(last["test/top1"])
        assert student.evaluate(data)["loss"] == pytest.approx(last["test/loss"], rel=1e-4)
    images = np.zeros((2, 8, 8, 3), np.float32)
    outputs = again.model.apply(again.variables, images, train=False)
    alone = again.model.network.apply(
        {"params": again.variables.params.student, "batch_stats": again.variables.stats.student},
        images,
        train=False,
    )
    assert not np.allclose(outputs.logits, alone.logits), "its network's own head is not what predicts"


def test_validation_images_choose_the_epoch_and_nobody_trains_on_them(student, data):
    summary = student.summary
    assert summary["best"]["chosen_on"] == "validation images held out from training"
    best = max(student.records, key=lambda record: record["validation/top1"])
    assert summary["best"]["epoch"] == best["epoch"] and summary["best"]["test/top1"] == best["test/top1"]
    (described,) = student.config["teachers"]
    teachers = (jkd.load(f).config for f in (student.folder.parent / "teachers").iterdir())
    (teacher,) = (config for config in teachers if digest(config) == described["run"])
    assert teacher["dataset"]["validation"] == 0.2, "nor do the teachers that are trained here"


def test_own_modules_teach_and_learn(folder, data):
    network = Tiny(4)
    variables = jax.jit(lambda k: network.init(k, np.zeros((1, 8, 8, 3), np.float32), False))(
        jax.random.key(0)
    )
    teachers = [
        jkd.Teacher(lambda v, x: network.apply(v, x, False), variables, name="own"),
        jkd.Teacher(
            lambda v, x: x.mean((1, 2)) @ v,
            np.ones((3, 4), np.float32),
            name="plain",
            image_size=4,
            mean=0,
            std=1,
        ),
    ]
    where = str(folder / "own")
    given = settings(folder, teachers=teachers, student=LogitsAlone(4), workdir=where)
    student = jkd.distil("aver", dataset=data, **given)
    assert [row["name"] for row in student.summary["teachers"]] == ["own", "plain"]
    with pytest.raises(jkd.UserError, match="its student is a 'LogitsAlone', which is not known here"):
        jkd.load(where)
    again = jkd.load(where, student=LogitsAlone(4))
    chex.assert_trees_all_equal(again.predict(data.x_test), student.predict(data.x_test))


def test_what_other_code_of_jkd_made_says_so_and_is_made_again_beside_it(student, data, folder, capsys):
    made = folder / "by_others"
    shutil.copytree(student.folder, made)
    sessions = [json.loads(line) for line in (made / "sessions.jsonl").read_text().splitlines()]
    lines = [json.dumps(session | {"code": "another", "commit": "0123456789abcdef"}) for session in sessions]
    (made / "sessions.jsonl").write_text("".join(line + "\n" for line in lines))
    given = settings(folder, validation=0.2, workdir=str(made))
    jkd.distil("aver", dataset=data, **given)
    told = capsys.readouterr().out
    assert "is finished" in told and "begun by other code of jkd, 0123456789ab); --again" in told
    again = jkd.distil("aver", dataset=data, **given, again=True)
    assert again.folder.name.startswith("by_others-code") and again.folder.parent == made.parent
    assert "begun by other code" not in capsys.readouterr().out
    chex.assert_trees_all_equal(again.variables, student.variables)


def test_a_run_of_an_earlier_jkd_is_loaded_and_not_gone_on_with(student, data, folder, capsys):
    old = folder / "old"
    shutil.copytree(student.folder, old)
    config = json.loads((old / "config.json").read_text())
    for name in ("format", "code"):
        config.pop(name, None)
    for name in ("classes", "validation"):
        del config["dataset"][name]
    config["recipe"]["learning_rate"] = None
    (old / "config.json").write_text(json.dumps(config))
    chex.assert_trees_all_equal(jkd.load(old).predict(data.x_test), student.predict(data.x_test))
    with pytest.raises(
        jkd.UserError, match=r"was begun by an earlier jkd, .* give another --workdir"
    ) as told:
        jkd.distil("aver", dataset=data, **settings(folder, validation=0.2, workdir=str(old)))
    assert "\n" not in str(told.value)


def test_mistakes_in_python_leave_python_running(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(jkd.UserError, match="is not a run's folder"):
        jkd.load(tmp_path)
    with pytest.raises(jkd.UserError, match="did you mean 'bomd'"):
        jkd.distil("bond")
    with pytest.raises(SystemExit):  # the command line ends its process; Python code does not
        run_method("bomd", ["--epochs=-1"])
