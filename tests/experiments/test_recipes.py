"""Recipes: those in the repository can be read, and what they lack is told in one line."""

import tomllib
from pathlib import Path

import pytest

import jkd
from jkd.comparison.choice import Choice, Row
from jkd.errors import UserError
from jkd.experiments import recipes
from jkd.experiments.compare import run_compare
from jkd.flags import settings
from jkd.methods import METHODS, create
from jkd.teachers import parse

MIXED = Path(jkd.__file__).parent.parent / "experiments" / "mixed-teachers.toml"
PATHS = sorted(set(MIXED.parent.glob("*.toml")) - {MIXED})


def test_the_papers_pairs_are_there():
    expected = {"vgg13-vgg8", "wrn_40_2-shufflenetv2", "resnet32x4-resnet8x4", "trio-vgg8"}
    assert expected <= {path.stem for path in PATHS}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_recipe_can_be_read_and_says_where_its_numbers_are_from(path):
    flags = tomllib.loads(path.read_text())["flags"]
    recipe = recipes.load(path.stem)
    assert f"--teachers={','.join(flags['teachers'])}" in recipe.arguments
    rows = {Row.of(row).name for row in flags["methods"]}
    assert not (recipe.published.keys() - rows) & METHODS.keys(), "others' methods alone have no row"
    if recipe.published:
        plain = {"--no-nesterov", "--no-teacher-nesterov"} & set(recipe.arguments)
        assert plain, "teachers of the published tables have no Nesterov momentum"
    for entry in recipe.published.values():
        assert 50 < entry.top1 < 100 and len(entry.source) > 10
    rows = {row.name: row.method for row in map(Row.of, flags["methods"])}
    for name, values in flags.items():
        if isinstance(values, dict):
            assert values.keys() <= {setting.name for setting in settings(METHODS[rows[name]])}


def test_some_rows_of_a_recipe_can_be_asked_for(monkeypatch):
    seen = []
    monkeypatch.setattr("jkd.experiments.compare.compare", lambda *arguments: seen.extend(arguments))
    run_compare(["--recipe=controls", "--methods=fitnet,by-best=distill", "--by-best.temperature=2"])
    assert seen[2] == {
        "fitnet": {"beta": 100.0},
        "by-best": {"knowledge": ("kd", "features"), "weighting": "best", "temperature": 2.0},
    }


def test_every_control_can_be_a_row():
    flags = tomllib.loads((MIXED.parent / "controls.toml").read_text())["flags"]
    rows = {row.name: row.method for row in map(Row.of, flags["methods"])}
    for name, method in rows.items():
        Choice.of(f"{name}={method}", flags.get(name, {}), 0)
        create(method, **flags.get(name, {}))
    assert {"best-kd", "best-dkd", "ensemble", "amal", "mmkd-frozen", "bomd-uniform", "phi-s"} <= rows.keys()


@pytest.mark.parametrize("setting", tomllib.loads(MIXED.read_text())["settings"])
def test_every_setting_of_mixed_teachers_can_be_run(setting, monkeypatch):
    seen = []
    monkeypatch.setattr("jkd.experiments.compare.compare", lambda *arguments: seen.extend(arguments))
    run_compare([f"--recipe=mixed-teachers:{setting}"])
    compared, base, hyperparameters, _ = seen
    assert compared.workdir == f"mixed-teachers/{setting}"
    teachers = parse(base.teachers.teachers, 0)
    for row in compared.methods:
        Choice.of(row, hyperparameters[Row.of(row).name], 0)
    # As strong as the others, whose weights sum to one.
    assert hyperparameters["camkd-matched"] == {"alpha": len(teachers), "beta": 100 * len(teachers)}


def test_settings_are_flags_in_place_of_others(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "[flags]\nepochs = 2\nseeds = [0]\n[settings.long]\nepochs = 9\n[settings.longer]\nepochs = 10\n"
    )
    assert recipes.load(f"{path}:long").arguments == ("--epochs=9", "--seeds=0")
    with pytest.raises(UserError, match=r"it has settings; give one as .*:SETTING, of long, longer"):
        recipes.load(str(path))
    with pytest.raises(UserError, match=r"no setting 'lang'.*did you mean 'long'"):
        recipes.load(f"{path}:lang")
    with pytest.raises(UserError, match="vgg13-vgg8:long: it has no settings"):
        recipes.load("vgg13-vgg8:long")


def test_flags_of_every_kind(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        "[flags]\nseeds = [0, 1]\ncrop = false\nlearning_rate = 0.1\nbomd = { inner_steps = 2 }\n"
    )
    assert recipes.load(str(path)).arguments == (
        "--seeds=0,1",
        "--no-crop",
        "--learning-rate=0.1",
        "--bomd.inner-steps=2",
    )


def test_the_command_line_goes_first_and_published_numbers_come_through(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[flags]\nmethods = ["aver", "bomd", "flat=bomd"]\nepochs = 240\nbomd = { beta = 2.0 }\n'
        "flat = { bilevel = false }\n"
        '[published]\nbomd = { top1 = 75.25, source = "the paper" }\n'
        'aver = { top1 = 74, epoch = "best", seeds = 3, source = "its code" }\n'
    )
    seen = []
    monkeypatch.setattr("jkd.experiments.compare.compare", lambda *arguments: seen.extend(arguments))
    run_compare([f"--recipe={path}", "--epochs=2", "--bomd.alpha=3"])
    settings_, base, hyperparameters, published = seen
    assert settings_.methods == ("aver", "bomd", "flat=bomd")
    assert base.recipe.epochs == 2
    assert hyperparameters == {"aver": {}, "bomd": {"beta": 2.0, "alpha": 3.0}, "flat": {"bilevel": False}}
    assert published["bomd"] == (75.25, "the paper", "unknown", None)
    assert published["aver"] == (74, "its code", "best", 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("flags =", "no recipe"),
        ("[published]\n", r"it has no table \[flags\]"),
        ("[flags]\n[published]\nbomd = 75\n", "no recipe"),
        ('[flags]\n[published]\nbomd = {top1 = 1, source = "", epoch = "mean"}', "epoch = 'mean' must be"),
        ('[flags]\n[published]\nbomd = {top1 = 1, source = "", seeds = 0}', "seeds = 0 must be"),
        ('[flags]\nmethods = ["bombd"]\n', "needs the method 'bombd'.*did you mean 'bomd'"),
        ('[flags]\nmethods = ["flat=bombd"]\n', "needs the method 'bombd'.*did you mean 'bomd'"),
        ('[flags]\nteachers = ["vgg12"]\n', "needs the network 'vgg12'"),
    ],
)
def test_mistakes_in_a_recipe(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        recipes.load(str(path))


BROKEN = {
    "flags = 3": "must be a table",
    "settings = 3\n[flags]": "it is no recipe",
    "[flags]\nhelp = true": "'help' is no setting",
    "[flags]\nteachers = [1]": "must name networks",
    "[flags]\nstudent = 3": "must name networks",
    "[flags]\nmethods = [true]": "must name methods",
    "[flags]\nepochs = [[1]]": "is no value of a flag",
    "[flags.bomd.beta]\nx = 1": "is no value of a flag",
    "[flags]\nepochs = 1979-05-27": "is no value of a flag",
    "[flags]\nx = " + "[" * 2000 + "]" * 2000: "it is no recipe",
    "not toml": "it is no recipe",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_recipe_is_told_in_one_line(tmp_path, capsys, text):
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(SystemExit) as stopped:
        run_compare([f"--recipe={path}"])
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1 and BROKEN[text] in err
