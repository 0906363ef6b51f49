"""Each bad input earns one line that names it and the exit status 2; no memory or folder is spent on it."""

import resource

import bad_files
import bad_inputs
import pytest

from jkd.experiments.cli import run_method

ROWS = [*bad_inputs.DATA, *bad_inputs.WEIGHTS, *bad_inputs.FLAGS, *bad_inputs.EACH]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    bad_files.write_all(folder)
    return folder


def test_no_two_rows_are_alike():
    assert len({what for what, *_ in ROWS}) == len({flags for _, flags, *_ in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_bad_input_is_told_in_one_line(files, capfd, monkeypatch, row):
    _, flags, *words = row
    monkeypatch.chdir(files)
    before = {path.name for path in files.iterdir()}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SystemExit) as stopped:
        run_method("aver", flags.split(" "))
    out, err = capfd.readouterr()
    assert stopped.value.code == 2, err
    assert out == "" and len(err.splitlines()) == 1, err
    for word in words:
        assert word in err
    assert {path.name for path in files.iterdir()} == before
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300 * 1024  # KiB
