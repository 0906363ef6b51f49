"""Records and checkpoints agree when a run goes on: what can be put right is, what cannot is told."""

import json
import shutil

import pytest
import tiny
from small_run import CONFIG, LAST, abstract, make_state, resume

import jkd
from jkd.errors import UserError
from jkd.run import Run, check_finished, read


def lines(folder):
    return (folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)


BEYOND_REPAIR = {
    "emptied": lambda content: [],
    "deleted": None,
    "zeroed": lambda content: [bytes(len(b"".join(content)))],
    "first line missing": lambda content: content[1:],
    "first line twice": lambda content: [content[0], *content],
    "first line {}": lambda content: [b"{}\n", *content[1:]],
    "first line 3": lambda content: [b"3\n", *content[1:]],
    "a digit changed": lambda content: [content[0].replace(b"0.1", b"0.7"), *content[1:]],
}


@pytest.mark.parametrize("what", BEYOND_REPAIR)
def test_records_that_are_gone_stop_the_run(folder, what):
    mutation, path = BEYOND_REPAIR[what], folder / "metrics.jsonl"
    if mutation is None:
        path.unlink()
    else:
        path.write_bytes(b"".join(mutation(lines(folder))))
    with Run.open(folder, CONFIG) as run, pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        run.restore(abstract())
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["2", "3"]


@pytest.mark.parametrize("line", [b"{}\n", b"3\n", b'{"step": 4', b'{"step": 4}\n', b"\0\0\0\n", b"\xff\n"])
def test_what_follows_the_checkpoint_is_dropped(folder, line):
    with open(folder / "metrics.jsonl", "ab") as file:
        file.write(line)
    assert resume(folder) == LAST


def test_a_damaged_last_record_costs_the_checkpoint_that_vouches_for_it(folder, capfd):
    (folder / "metrics.jsonl").write_bytes(b"".join([*lines(folder)[:-1], b"{}\n"]))
    assert resume(folder) == LAST - 1
    assert "metrics.jsonl is damaged" in capfd.readouterr().err


def test_without_a_checkpoint_the_run_begins_anew(folder):
    shutil.rmtree(folder / "checkpoints")
    (folder / "metrics.jsonl").write_bytes(b"\0\0\n3\n")
    with Run.open(folder, CONFIG) as run:
        assert run.restore(abstract()) is None
        assert run.records == []
        run.log(1, {"epoch": 1})
        run.save(1, make_state(1))
    assert resume(folder) == 1


@pytest.mark.parametrize("line", ["{}", "3", "", '"step"', '{"step": "x"}'])
def test_reading_tells_a_line_that_is_no_record(folder, line):
    (folder / "metrics.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        read(folder)


@pytest.mark.parametrize("what", [*BEYOND_REPAIR, "last line missing"])
def test_records_that_are_gone_from_a_finished_run_are_told(folder, what):
    with Run.open(folder, CONFIG) as run:
        run.finish({})
    check_finished(folder)
    mutation = {**BEYOND_REPAIR, "last line missing": lambda content: content[:-1]}[what]
    path = folder / "metrics.jsonl"
    if mutation is None:
        path.unlink()
    else:
        path.write_bytes(b"".join(mutation(lines(folder))))
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        check_finished(folder)


def test_a_finished_run_is_held_against_its_records_when_it_is_found(tmp_path, tiny_npz):
    settings = tiny.settings(tmp_path, dataset=f"npz:{tiny_npz}", epochs=2)
    del settings["teachers"]
    jkd.distil("scratch", **settings)
    jkd.distil("scratch", **settings)
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[-1])
    with pytest.raises(UserError, match=r"its 1 records are not the 2 that the run ended with"):
        jkd.distil("scratch", **settings)


@pytest.mark.slow
def test_a_damaged_teacher_is_told_however_it_is_found(tmp_path, tiny_npz):
    settings = tiny.settings(tmp_path, dataset=f"npz:{tiny_npz}", epochs=1, teacher_epochs=1)
    jkd.distil("aver", **settings)
    (teacher,) = (tmp_path / "teachers").iterdir()
    for file, damage, told in [
        ("metrics.jsonl", "", "metrics.jsonl is damaged"),
        ("config.json", "{}", "(config.json is damaged|begun by an earlier jkd)"),
        ("config.json", "3", "config.json is damaged"),
    ]:
        whole = (teacher / file).read_text()
        (teacher / file).write_text(damage)
        for named in ("tiny", f"tiny@{teacher}"):
            with pytest.raises(UserError, match=f"{teacher.name}.*{told}"):
                jkd.distil("aver", **settings | {"teachers": [named], "workdir": str(tmp_path / "other")})
        (teacher / file).write_text(whole)


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard"])
def test_a_file_in_a_folders_place_is_named(folder, name):
    shutil.rmtree(folder / name)
    (folder / name).write_text("")
    with pytest.raises(UserError, match=f"{name} is no folder"):
        Run.open(folder, CONFIG)


def test_an_entry_that_is_missing_is_told_as_damage(folder):
    (folder / "summary.json").write_text(json.dumps({"last": {}}))
    summary = read(folder).summary
    for ask in (lambda: summary["best"], lambda: summary["last"]["epoch"]):
        with pytest.raises(UserError, match=r"summary\.json is damaged \(it has no"):
            ask()
