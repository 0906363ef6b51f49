"""What a student is exported to computes the same, and appears whole or not at all."""

import json
import re
import sys

import jax
import numpy as np
import pytest
from PIL import Image
from tiny import Tiny, settings

import jkd
from jkd import models
from jkd.data import Data
from jkd.distillation.formats import FORMATS
from jkd.distillation.student import Student
from jkd.experiments.export import run_export
from jkd.experiments.predict import run_predict
from jkd.interop import weights
from jkd.interop.torch import load_state_dict, to_state_dict
from jkd.run import Contents


@pytest.fixture(scope="module")
def data(tiny_npz):
    with np.load(tiny_npz) as arrays:
        return Data(**arrays, classes=("zero", "one", "two", "three"))


def untrained(folder, model, variables, name, classes=4):
    """A student whose weights were drawn, not trained."""
    dataset = {"name": "arrays", "num_classes": classes, "image_size": [8, 8], "classes": None}
    dataset |= {"mean": [0.3, 0.3, 0.3], "std": [0.35, 0.3, 0.35]}
    config = {"student": name, "method": "scratch", "dataset": dataset, "recipe": {"dtype": "float32"}}
    return Student(model, variables, Contents(config, [], None, folder, []))


def drawn(network):
    """Weights of which none is 0 or 1, so that one that is left out shows."""
    rng = np.random.default_rng(0)
    images = np.zeros((1, 8, 8, 3), np.float32)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=False))
    return jax.tree.map(lambda leaf: rng.uniform(0.05, 0.2, leaf.shape).astype(np.float32), shapes)


@pytest.fixture
def published(tmp_path):
    """A student that is a published network."""
    network = models.create("resnet8", 4)
    variables = drawn(network)
    return untrained(tmp_path / "run", network, variables, "resnet8")


@pytest.fixture
def own(tmp_path):
    """A student that is a network of somebody's own."""
    network = models.OwnNetwork(Tiny(4), "Tiny")
    return untrained(tmp_path / "run", network, drawn(network), "Tiny")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory, data):
    """A student that predicts with its teachers' heads."""
    folder = tmp_path_factory.mktemp("deployed")
    return jkd.distil("mkcd", dataset=data, **settings(folder, epochs=1, teacher_epochs=1))


def test_a_published_network_has_pytorchs_names(published, data, tmp_path):
    path = tmp_path / "student.safetensors"
    exported = published.export(path, dataset=data)
    assert exported.path == path and exported.images == 80
    assert exported.difference < 1e-5 and exported.agreement == 1
    assert exported.top1 == pytest.approx(published.evaluate(data)["top1"])
    entries = load_state_dict(path)
    assert entries.keys() == to_state_dict(published.variables).keys()
    assert entries["layer1.0.conv1.weight"].shape == (16, 16, 3, 3)

    card = json.loads((tmp_path / "student.safetensors.json").read_text())
    assert card["mean"] == [0.3, 0.3, 0.3] and "any number, 8, 8, 3" in card["images"]
    assert card["compared"]["top1"] == exported.top1


def test_other_students_arrays_have_their_paths(own, deployed, data, tmp_path):
    own.export(tmp_path / "own.safetensors", dataset=data)
    assert "params.Conv_0.kernel" in load_state_dict(tmp_path / "own.safetensors")
    deployed.export(tmp_path / "deployed.safetensors", dataset=data)
    entries = load_state_dict(tmp_path / "deployed.safetensors")
    assert any(name.startswith("heads.0") for name in entries)
    assert "params.method.0.decode1.kernel" in entries


@pytest.mark.parametrize("which", ["own", "deployed"])
def test_what_no_pytorch_class_computes_is_told(request, data, tmp_path, which):
    refused(request.getfixturevalue(which), data, tmp_path / "s.pth", "no published PyTorch class computes")


def test_pytorch_is_not_needed_but_for_its_own_files(published, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(published, data, tmp_path / "s.pth", r"needs PyTorch.*pip install 'jkd\[torch\]'")


def test_nothing_is_replaced_unasked(own, data, tmp_path):
    path = tmp_path / "student.safetensors"
    for there in (path, tmp_path / "student.safetensors.json"):
        there.write_text("mine")
        with pytest.raises(jkd.UserError, match=f"{re.escape(str(there))} is there already: --overwrite"):
            own.export(path, dataset=data)
        assert there.read_text() == "mine"
        there.unlink()
    path.write_text("mine")
    own.export(path, dataset=data, overwrite=True)
    assert "params.Conv_0.kernel" in load_state_dict(path)


def test_a_file_that_computes_something_else_does_not_appear(own, data, tmp_path, monkeypatch):
    def damage(path, student, wish):
        entries = weights.named(student.variables)
        entries["params.Dense_0.bias"] = entries["params.Dense_0.bias"] + 0.01
        weights.save_safetensors(path, entries)

    wrong = FORMATS["safetensors"]._replace(write=damage)
    monkeypatch.setitem(FORMATS, "safetensors", wrong)
    refused(
        own,
        data,
        tmp_path / "s.safetensors",
        "its logits differ from the student's by .* was not made|was not made",
    )


MISTAKES = {
    "ending": ("student.bin", {}, r"student.bin: its ending names no format.*\.safetensors"),
    "other ending": ("student.bin", {"to": "torch"}, r"a file of --to=torch ends in \.pth"),
    "format": ("student.bin", {"to": "tflite"}, "--to=tflite: it must be one of"),
    "flag": ("s.safetensors", {"preproces": True}, "unknown setting 'preproces'.*did you mean 'preprocess'"),
    "preprocess": ("s.safetensors", {"preprocess": True}, "holds weights, not what is computed"),
    "batch size": ("s.safetensors", {"batch_size": 2}, "holds weights, not what is computed"),
    "no images": ("s.safetensors", {"batch_size": 0}, "--batch-size=0: it must be at least 1"),
    "int8": ("s.safetensors", {"int8": True}, "--int8 with --to=safetensors: it is for onnx"),
    "under a file": ("file/s.safetensors", {}, "cannot be written there"),
    "other classes": ("s.safetensors", {"dataset": "digits"}, "digits has 10 classes, the student 4"),
    "no data": ("s.safetensors", {"dataset": None}, "no test images to compare on.*--dataset"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(own, data, tmp_path, name):
    file, given, words = MISTAKES[name]
    (tmp_path / "file").write_text("")
    refused(own, given.pop("dataset", data) if "dataset" in given else data, tmp_path / file, words, **given)


def refused(student, data, path, words, **given):
    before = set(path.parent.rglob("*")) if path.parent.is_dir() else set()
    with pytest.raises(jkd.UserError, match=words) as told:
        student.export(path, dataset=data, **given)
    assert "\n" not in str(told.value)
    assert (set(path.parent.rglob("*")) if path.parent.is_dir() else set()) == before


def test_the_command_line(deployed, tiny_npz, data, tmp_path, capsys):
    run = str(deployed.folder)
    run_export([run, "--to=safetensors", f"--dataset=npz:{tiny_npz}", "--images=20"])
    out = capsys.readouterr().out
    assert "Student(tiny by mkcd" in out and "on 20 test images: top-1" in out
    assert load_state_dict(deployed.folder / "export" / "student.safetensors")

    grey, large = tmp_path / "grey.png", tmp_path / "large.png"
    Image.fromarray(data.x_test[0]).save(grey)
    Image.fromarray(np.repeat(np.repeat(data.x_test[1], 3, 0), 3, 1)).save(large)
    run_predict([run, str(grey), str(large), "--top=2"])
    lines = capsys.readouterr().out.splitlines()
    for line, file, image in zip(lines, (grey, large), data.x_test, strict=False):
        row = deployed.predict(image[None])[0]
        best = deployed.classes[row.argmax()]
        if file is grey:
            assert line.startswith(f"{grey}: {best} {row.max():.2%}, ")
        assert line.startswith(f"{file}: ") and line.count("%") == 2


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        (run_export, ["nowhere"], "nowhere is not a run's folder"),
        (run_export, [], "required: RUN"),
        (run_export, ["RUN"], "--to says the format: one of safetensors"),
        (run_predict, ["RUN"], "required: IMAGE"),
        (run_predict, ["RUN", "nowhere.png"], "'nowhere.png' cannot be read"),
        (run_predict, ["RUN", __file__], "is not an image"),
        (run_predict, ["RUN", "x.png", "--top=0"], "--top=0"),
        (run_predict, ["RUN", "x.png", "--top=1", "y.png"], "'y.png' is no flag"),
    ],
)
def test_mistakes_on_the_command_line(deployed, capsys, command, arguments, words):
    with pytest.raises(SystemExit) as stopped:
        command([str(deployed.folder) if argument == "RUN" else argument for argument in arguments])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1
