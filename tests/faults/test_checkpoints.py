"""A damaged checkpoint is refused or put right, whatever is damaged in it; never is it taken for whole."""

import json
import shutil

import pytest
from small_run import CONFIG, LAST, abstract, assert_same, make_state, resume

from jkd.errors import UserError
from jkd.run import Run, read, restore_item

# What orbax leaves unread of a damaged checkpoint complains when it is collected; `guard` hides that.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


MUTATIONS = {
    "flip": flip,
    "truncate": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "nul": lambda content: bytes(len(content)),
    "delete": None,
}


def mutate(path, mutation):
    if mutation is None:
        path.unlink()
    else:
        path.write_bytes(mutation(path.read_bytes()))


def files_of(checkpoint):
    return [path for path in sorted(checkpoint.rglob("*")) if path.is_file()]


# One of them with every change, the rest with the slow tests: each goes through all files of a checkpoint.
@pytest.mark.parametrize(
    "name", [name if name == "flip" else pytest.param(name, marks=pytest.mark.slow) for name in MUTATIONS]
)
def test_damage_of_the_newest_checkpoint_is_put_right_by_the_one_before(pristine, tmp_path, name, capfd):
    outcomes = []
    for path in files_of(pristine / "checkpoints" / str(LAST)):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pristine, folder)
        mutate(folder / path.relative_to(pristine), MUTATIONS[name])
        step = resume(folder)
        said = capfd.readouterr().err.splitlines()
        assert step in (LAST, LAST - 1), path
        # Some files tell orbax nothing that it needs: then nothing is lost, and nothing is said.
        assert len(said) == LAST - step, (path, said)
        if step < LAST:
            assert f"step {LAST - 1}" in said[0] and (folder / "damaged" / str(LAST)).is_dir()
        outcomes.append(step)
    assert LAST - 1 in outcomes


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_damaged_teacher_is_refused(pristine, tmp_path, name):
    refused = 0
    for path in files_of(pristine / "checkpoints" / str(LAST)):
        folder = tmp_path / "run"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pristine, folder)
        mutate(folder / path.relative_to(pristine), MUTATIONS[name])
        try:
            student = restore_item(folder, "student", abstract()["student"])
        except UserError as error:
            assert str(folder) in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert_same(student, make_state(LAST)["student"])
    assert refused


def test_if_none_is_whole_the_run_stops_and_nothing_is_moved(folder):
    for path in (folder / "checkpoints").rglob("ocdbt.process_0/d/*"):
        mutate(path, flip)
    with Run.open(folder, CONFIG) as run, pytest.raises(UserError, match="no checkpoint before it is whole"):
        run.restore(abstract())
    assert len(list((folder / "checkpoints").iterdir())) == 2
    assert len(read(folder).records) == LAST


def test_a_checkpoint_copied_to_a_higher_step_is_set_aside(folder):
    shutil.copytree(folder / "checkpoints" / str(LAST), folder / "checkpoints" / str(LAST + 4))
    assert resume(folder) == LAST


def test_a_checkpoint_from_before_there_were_seals_is_taken_up_and_told(folder, capsys):
    for checkpoint in (folder / "checkpoints").iterdir():
        shutil.rmtree(checkpoint / "seal")
        description = json.loads((checkpoint / "_CHECKPOINT_METADATA").read_text())
        del description["item_handlers"]["seal"]
        (checkpoint / "_CHECKPOINT_METADATA").write_text(json.dumps(description))
    assert resume(folder) == LAST
    path = folder / "checkpoints" / str(LAST)
    assert (
        capsys.readouterr().out
        == f"{path} was saved before checkpoints had checksums: it is taken as it is\n"
    )


@pytest.mark.parametrize("item", ["seal", "student", "training"])
def test_an_item_that_is_gone_is_noticed(folder, item, capfd):
    shutil.rmtree(folder / "checkpoints" / str(LAST) / item)
    with pytest.raises(UserError, match=f"{LAST}.*(damaged|no item)"):
        restore_item(
            folder, item if item != "seal" else "student", abstract().get(item, abstract()["student"])
        )
    assert resume(folder) == LAST - 1
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_what_the_machine_refuses_is_no_damage(folder, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: Failed to open: Too many open files [os_error_code='24']")

    with Run.open(folder, CONFIG) as run:
        monkeypatch.setattr(type(run._checkpoints), "restore", refuse)
        with pytest.raises(UserError, match=r"ulimit -n"):
            run.restore(abstract())
    monkeypatch.undo()
    assert resume(folder) == LAST
