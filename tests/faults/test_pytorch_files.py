"""Each bad checkpoint earns one line that names what is wrong, and nothing that it carries is run."""

import contextlib
import resource
import warnings

import pytest

from jkd.experiments.cli import run_method

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install '.[torch]'")
import bad_checkpoints  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch, of kinds of tensors that it will drop
        for name, make, *_ in bad_checkpoints.ROWS:
            (folder / name).write_bytes(make())
    (folder / "folder.pth").mkdir()
    return folder


@pytest.mark.parametrize(
    "row", [*bad_checkpoints.ROWS, ("folder.pth", None, "not a run's folder")], ids=lambda row: row[0]
)
def test_a_bad_checkpoint_is_told_in_one_line(files, capfd, monkeypatch, row):
    name, _, *words = row
    monkeypatch.chdir(files)
    before = {path.name for path in files.iterdir()}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SystemExit) as stopped:
        run_method("aver", [f"--teachers=resnet8@{name}"])
    out, err = capfd.readouterr()
    assert stopped.value.code == 2, err
    assert out == "" and len(err.splitlines()) == 1 and err.strip().isprintable(), err
    for word in words:
        assert word in err
    assert {path.name for path in files.iterdir()} == before  # also: no code ran
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300 * 1024  # KiB


@pytest.mark.parametrize(
    "name", ["code.pth", "code_beside_weights.pt", "old_code.pth", "plain_code.pth", "newer_code.pth"]
)
def test_what_was_refused_would_have_run(files, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(Exception):
        torch.load(files / name, weights_only=False)
    assert (tmp_path / "it-ran").exists()
