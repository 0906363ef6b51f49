"""From PyTorch through jkd to PyTorch: a checkpoint teaches, and the student is a checkpoint again."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import jkd
from jkd.data.any_size import as_batch

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[torch]'")
import pytorch_networks  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", sorted(pytorch_networks.NETWORKS.keys() - {"ShuffleV2"}))  # as its half
def test_round_trip(name, tmp_path):
    digits = load_digits(n_class=4)
    images = (digits.images * 15.9).astype(np.uint8)
    data = jkd.Data(images[:160], digits.target[:160], images[160:260], digits.target[160:260])
    torch.manual_seed(0)
    theirs = pytorch_networks.NETWORKS[name](4).eval()
    torch.save({"model": theirs.state_dict()}, tmp_path / "teacher.pth")
    student = jkd.distil(
        "bomd",
        dataset=data,
        teachers=[f"{name}@{tmp_path / 'teacher.pth'}"],
        student=name,
        epochs=1,
        batch_size=32,
        cache_dir=str(tmp_path / "cache"),
        workdir=str(tmp_path / "run"),
    )
    exported = student.export(tmp_path / "student.pth", dataset=data)
    assert exported.difference < 1e-5

    again = pytorch_networks.NETWORKS[name](4).eval()
    before = {key: value.clone() for key, value in again.state_dict().items()}
    again.load_state_dict(torch.load(tmp_path / "student.pth", weights_only=True), strict=True)
    changed = [key for key, value in again.state_dict().items() if not torch.equal(value, before[key])]
    assert {key for key in before if "num_batches" not in key} == set(changed), "something was not trained"

    seen = as_batch(data.x_test, student.image_size) / 255.0
    spec = student.config["dataset"]
    standardised = ((seen - spec["mean"]) / spec["std"]).astype(np.float32).transpose(0, 3, 1, 2)
    with torch.no_grad():
        logits = again(torch.from_numpy(standardised)).numpy()
    ours = student.logits(data.x_test)
    np.testing.assert_allclose(logits, ours, rtol=0, atol=1e-4 * np.abs(ours).max())
