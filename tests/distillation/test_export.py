"""What a student is exported to computes the same, and appears whole or not at all."""

import json
import os
import re
import subprocess
import sys

import flax.linen as nn
import jax
import jax.export
import numpy as np
import pytest
from PIL import Image
from tiny import Tiny, settings

import jkd
from jkd import methods, models
from jkd.data import Data, load
from jkd.distillation.formats import FORMATS
from jkd.distillation.student import Student
from jkd.experiments.export import run_export
from jkd.experiments.predict import run_predict
from jkd.interop import weights
from jkd.interop.checkpoint import load_state_dict
from jkd.interop.torch import to_state_dict
from jkd.machine import files
from jkd.methods.base import TeacherOutputs
from jkd.run import Contents
from jkd.steps.deployed import Deployed, DeployedNetwork
from jkd.steps.state import Split


@pytest.fixture(scope="module")
def data(tiny_npz):
    with np.load(tiny_npz) as arrays:
        return Data(**arrays, classes=("zero", "one", "two", "three"))


def untrained(folder, model, variables, name, method="scratch"):
    """A student whose weights were drawn, not trained."""
    dataset = {"name": "arrays", "num_classes": 4, "image_size": [8, 8], "classes": None}
    dataset |= {"mean": [0.3, 0.3, 0.3], "std": [0.35, 0.3, 0.35]}
    config = {"student": name, "method": method, "dataset": dataset, "recipe": {"dtype": "float32"}}
    return Student(model, variables, Contents(config, [], None, folder, []))


def drawn(network):
    """Weights of which none is 0 or 1, so that one that is left out shows."""
    images = np.zeros((1, 8, 8, 3), np.float32)
    return at_random(jax.eval_shape(lambda: network.init(jax.random.key(0), images, train=False)))


def at_random(shapes):
    rng = np.random.default_rng(0)
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


@pytest.fixture
def deployed(tmp_path):
    """A student that predicts with a projector and its teacher's head."""
    network, method = models.OwnNetwork(Tiny(4), "Tiny"), methods.create("mkcd")
    variables = drawn(network)
    seen = jax.eval_shape(network.apply, variables, np.zeros((1, 8, 8, 3), np.float32))
    head = models.Head(np.ones((8, 4), np.float32), np.zeros(4, np.float32))
    own = jax.eval_shape(lambda: method.init(jax.random.key(0), seen, (TeacherOutputs(*seen, head),)))
    rest = at_random(Deployed(Split((), own.params), Split((), own.state), own.upper, (head,)))
    whole = rest._replace(
        params=rest.params._replace(student=variables["params"]),
        stats=rest.stats._replace(student=variables["batch_stats"]),
    )
    model = DeployedNetwork(network, method.predict)
    return untrained(tmp_path / "run", model, whole, "Tiny", method="mkcd")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data):
    """The student of a run, which computed in bfloat16; what is exported computes in float32."""
    return jkd.distil(
        "scratch", dataset=data, **settings(tmp_path_factory.mktemp("trained"), epochs=1, dtype="bfloat16")
    )


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


def test_stablehlo_runs_without_jkd(own, data, tmp_path):
    path = tmp_path / "student.stablehlo"
    own.export(path, dataset=data, preprocess=True)
    images = load(data).test_images[:3]
    np.save(tmp_path / "images.npy", images)
    alone = (
        "import jax, numpy, sys; "
        "run = jax.export.deserialize(bytearray(open('student.stablehlo', 'rb').read())); "
        "numpy.save('logits.npy', run.call(numpy.load('images.npy'))); "
        "print(*run.platforms, any(name.startswith('jkd') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", alone], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["cpu", "cuda", "tpu", "False"], done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), own.logits(images), rtol=1e-5)
    # Whoever has it when jax reads it no longer has the weights.
    assert "params.Conv_0.kernel" in load_state_dict(tmp_path / "student.stablehlo.safetensors")


def test_stablehlo_of_a_fixed_batch(deployed, data, tmp_path):
    path = tmp_path / "student.stablehlo"
    exported = deployed.export(path, dataset=data, batch_size=32)
    assert exported.difference < 1e-5 and exported.top1 == exported.student_top1
    (images,) = jax.export.deserialize(bytearray(path.read_bytes())).in_avals
    assert images.shape == (32, 8, 8, 3) and images.dtype == np.float32
    assert "six months" in str(exported)


def test_a_network_that_must_know_the_batch_is_told_so(data, tmp_path):
    network = models.OwnNetwork(Counts(4), "Counts")
    student = untrained(tmp_path / "run", network, drawn(network), "Counts")
    refused(
        student, tmp_path / "s.stablehlo", "does not take batches of any size.*--batch-size=N", dataset=data
    )
    student.export(tmp_path / "s.stablehlo", dataset=data, batch_size=16)
    assert (tmp_path / "s.stablehlo").is_file()


class Counts(nn.Module):
    """A network that asks how many images there are."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train):
        return nn.Dense(self.num_classes)(images.reshape(len(images), -1))


@pytest.fixture
def onnxruntime():
    pytest.importorskip("jax2onnx", reason="needs jax2onnx: pip install '.[onnx]'")
    return pytest.importorskip("onnxruntime", reason="needs ONNX Runtime: pip install '.[onnx]'")


@pytest.mark.onnx
@pytest.mark.parametrize("which", ["published", "own", "deployed"])
def test_onnx(request, onnxruntime, data, tmp_path, which, capfd):
    student = request.getfixturevalue(which)
    path = tmp_path / "student.onnx"
    student.export(path, dataset=data, preprocess=True)
    images = load(data).test_images
    run = onnxruntime.InferenceSession(path).run
    for count in (1, 5):
        (logits,) = run(["logits"], {"images": images[:count]})
        ours = student.logits(images[:count])
        np.testing.assert_allclose(logits, ours, rtol=0, atol=1e-4 * np.abs(ours).max())
    assert capfd.readouterr().err == ""  # where ONNX Runtime would warn of shapes that do not fit

    student.export(tmp_path / "fixed.onnx", dataset=data, batch_size=3)
    (taken,) = onnxruntime.InferenceSession(tmp_path / "fixed.onnx").get_inputs()
    assert taken.shape == [3, 8, 8, 3] and taken.type == "tensor(float)"


@pytest.mark.onnx
@pytest.mark.parametrize("batch_size", [None, 3])
def test_int8(trained, onnxruntime, data, tmp_path, batch_size):
    given = {"dataset": data, "batch_size": batch_size}
    whole = trained.export(tmp_path / "whole.onnx", **given)
    small = trained.export(tmp_path / "small.onnx", int8=True, **given)
    assert whole.difference < 1e-5 and small.student_top1 == whole.top1
    assert 1e-4 < small.difference < 0.2 and abs(small.top1 - whole.top1) < 0.06
    onnx = pytest.importorskip("onnx")
    types = {one.data_type for one in onnx.load(small.path).graph.initializer if len(one.dims) == 4}
    assert types == {onnx.TensorProto.INT8}, "convolutions whose kernels are not int8"


@pytest.mark.parametrize("which", ["own", "trained"])
def test_what_no_pytorch_class_computes_is_told(request, data, tmp_path, which):
    refused(
        request.getfixturevalue(which),
        tmp_path / "s.pth",
        "no published PyTorch class computes",
        dataset=data,
    )


def test_pytorch_is_not_needed_but_for_its_own_files(published, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    words = "--to=torch needs PyTorch.*safetensors has the same entries"
    refused(published, tmp_path / "s.pth", words, dataset=data)


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


def test_what_a_killed_export_left_goes_with_the_next(own, data, tmp_path):
    left = tmp_path / ".export-s.safetensors"
    left.mkdir()
    (left / "s.safetensors").write_text("half")
    lock = files.lock(left)
    refused(own, tmp_path / "s.safetensors", "another process is writing it", dataset=data)
    os.close(lock)
    own.export(tmp_path / "s.safetensors", dataset=data)
    assert {path.name for path in tmp_path.iterdir()} == {"s.safetensors", "s.safetensors.json"}


def test_a_file_that_computes_something_else_does_not_appear(own, data, tmp_path, monkeypatch):
    def damage(path, student, wish):
        entries = weights.named(student.variables)
        entries["params.Dense_0.bias"] = entries["params.Dense_0.bias"] + 0.01
        weights.save_safetensors(path, entries)

    wrong = FORMATS["safetensors"]._replace(write=damage)
    monkeypatch.setitem(FORMATS, "safetensors", wrong)
    refused(
        own,
        tmp_path / "s.safetensors",
        "was not made: reopened, its logits differ from the student's by",
        dataset=data,
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
    "onnx missing": ("s.onnx", {}, "--to=onnx needs jax2onnx.*jkd.onnx."),
    "no data": ("s.safetensors", {"dataset": None}, "no test images to compare on.*--dataset"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(own, data, tmp_path, monkeypatch, name):
    file, given, words = MISTAKES[name]
    if name == "onnx missing":
        monkeypatch.setitem(sys.modules, "jax2onnx", None)
    (tmp_path / "file").write_text("")
    refused(own, tmp_path / file, words, **{"dataset": data} | given)


def refused(student, path, words, **given):
    before = set(path.parent.rglob("*")) if path.parent.is_dir() else set()
    with pytest.raises(jkd.UserError, match=words) as told:
        student.export(path, **given)
    assert "\n" not in str(told.value)
    assert (set(path.parent.rglob("*")) if path.parent.is_dir() else set()) == before


def test_the_command_line(trained, tiny_npz, data, tmp_path, capsys):
    run = str(trained.folder)
    run_export([run, "--to=safetensors", f"--dataset=npz:{tiny_npz}", "--images=20"])
    out = capsys.readouterr().out
    assert "Student(tiny by scratch" in out and "on 20 test images: top-1" in out
    assert load_state_dict(trained.folder / "export" / "student.safetensors")

    grey, large = tmp_path / "grey.png", tmp_path / "large.png"
    Image.fromarray(data.x_test[0]).save(grey)
    Image.fromarray(np.repeat(np.repeat(data.x_test[1], 3, 0), 3, 1)).save(large)
    run_predict([run, str(grey), str(large), "--top=2"])
    lines = capsys.readouterr().out.splitlines()
    for line, file, image in zip(lines, (grey, large), data.x_test, strict=False):
        row = trained.predict(image[None])[0]
        best = trained.classes[row.argmax()]
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
def test_mistakes_on_the_command_line(trained, capsys, command, arguments, words):
    with pytest.raises(SystemExit) as stopped:
        command([str(trained.folder) if argument == "RUN" else argument for argument in arguments])
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert words in err and len(err.splitlines()) == 1
