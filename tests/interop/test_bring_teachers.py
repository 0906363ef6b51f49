"""Checkpoints that PyTorch made teach, each at its own normalisation and size."""

import json
import re

import numpy as np
import pytest

from jkd.steps.images import Augmentation
from jkd.teachers import parse
from jkd.teachers.stored import read

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[torch]'")
from pytorch_networks import VGG13, ResNet18  # noqa: E402

pytestmark = pytest.mark.torch
# Architecture in jkd, mean, deviation, size, and what its trainer saves.
VIEWS = {
    VGG13: ("vgg13", (0.5, 0.4, 0.3), (0.25, 0.3, 0.35), 8, lambda state: {"epoch": 240, "model": state}),
    ResNet18: ("resnet18_imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 32, lambda state: state),
}


def fitted(make, images, labels):
    """Returns a network of PyTorch's that knows some images, and its logits of images as it is shown them."""
    _, mean, std, size, _ = VIEWS[make]
    torch.manual_seed(0)
    network = make(4)

    def logits(images):  # uint8 NHWC
        seen = torch.tensor(images).permute(0, 3, 1, 2) / 255
        seen = (seen - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        return network(torch.nn.functional.interpolate(seen, (size, size), mode="bilinear"))

    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for start in range(0, 640, 32):
        optimizer.zero_grad()
        at = slice(start, start + 32)
        torch.nn.functional.cross_entropy(logits(images[at]), torch.tensor(labels[at])).backward()
        optimizer.step()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over what comes
    with torch.no_grad():
        logits(images[:128])
    network.eval()
    return network, lambda images: logits(images).detach().numpy()


@pytest.fixture(scope="module")
def data(tiny_npz):
    with np.load(tiny_npz) as arrays:
        return {name: np.repeat(x[..., None], 3, 3) if "x" in name else x for name, x in arrays.items()}


@pytest.fixture(scope="module")
def brought(command_line, data):
    """Of each network: its logits in PyTorch, and how `--teachers` names its checkpoint."""
    found = {}
    for make, (architecture, mean, std, size, wrap) in VIEWS.items():
        network, logits = fitted(make, data["x_train"], data["y_train"])
        torch.save(wrap(network.state_dict()), command_line.folder / f"{architecture}.pth")
        means, stds = ("/".join(map(str, value)) for value in (mean, std))
        found[make] = logits, f"{architecture}@{architecture}.pth:mean={means}:std={stds}:size={size}"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("make", VIEWS)
def test_it_says_what_it_said_in_pytorch(command_line, monkeypatch, data, brought, make):
    monkeypatch.chdir(command_line.folder)
    logits, given = brought[make]
    (named,) = parse([given], 0)
    ours = Augmentation(
        0, False, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    )  # another normalisation than the teacher's
    teacher = read(named, 4, "float32")
    images = data["x_test"][:16]
    found = teacher.network(ours).outputs(teacher.variables, ours.evaluate(images)).logits
    expected = logits(images)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_two_teach_together_and_a_wrong_normalisation_shows(command_line, tmp_path, data, brought):
    teachers, truth = [], []
    for logits, given in brought.values():
        truth.append(100 * float((logits(data["x_test"]).argmax(1) == data["y_test"]).mean()))
        teachers.append(f"{given}:accuracy={truth[-1]:.2f}")
    assert min(truth) > 70
    wrong = teachers[0].replace("mean=0.5/0.4/0.3:std=0.25/0.3/0.35", "mean=3:std=5")
    flags = [f"--teachers={','.join([*teachers, wrong])}", "--student=resnet8", "--epochs=1"]
    done = command_line.run("aver", *flags, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"  (\w+)@\S+ +test top-1 ([\d.]+)% \(([\d.]+)% promised\)", done.stdout)
    assert [name for name, *_ in rows] == ["vgg13", "resnet18_imagenet", "vgg13"]
    for (_, found, promised), accuracy in zip(rows, truth, strict=False):
        assert promised == f"{accuracy:.2f}"
        assert abs(float(found) - accuracy) < 1.3  # less than an image of 80
    assert re.findall(r"note: (\S+) is ([\d.]+) points below", done.stdout) == [
        ("vgg13@vgg13.pth", f"{truth[0] - float(rows[2][1]):.1f}")
    ]
    views = json.loads((tmp_path / "run" / "config.json").read_text())["teachers"]
    assert [view.get("image_size") for view in views] == [None, 32, None]  # the data are 8x8
    assert [view["mean"][0] for view in views] == [0.5, 0.485, 3]
