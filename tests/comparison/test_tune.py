"""Choosing hyperparameters: the same budget for every method, and never the test images."""

import numpy as np
import pytest

from jkd.comparison import tune
from jkd.comparison.choice import Choice
from jkd.comparison.tune import Trial
from jkd.flags import settings
from jkd.methods import METHODS, Method, create
from jkd.report.results import Result


def test_defaults_are_tried_first_and_no_choice_twice():
    choices = tune.candidates("bomd", {}, 100)
    assert choices[0] == {}
    tuned = [setting for setting in settings(METHODS["bomd"]) if setting.flag.tune]
    assert len(choices) == np.prod([len(setting.flag.tune) for setting in tuned])
    written = {tuple(sorted(({s.name: s.default for s in tuned} | choice).items())) for choice in choices}
    assert len(written) == len(choices)


def test_every_method_gets_the_same_budget_and_the_same_choices_each_time():
    given = {"bomd": {}, "mmkd": {}, "scratch": {}}
    choices = tune.choices(given, 4, (7, 8))
    assert [choice.row.method for choice in choices] == 2 * (["bomd"] * 4 + ["mmkd"] * 4)
    assert choices == tune.choices(given, 4, (7, 8))
    assert len({choice.name for choice in choices}) == 16


def test_what_is_given_is_not_tuned():
    choices = tune.candidates("bomd", {"beta": 7.0}, 100)
    assert {choice["beta"] for choice in choices} == {7.0}
    assert len({choice.get("alpha") for choice in choices}) == len(choices) > 1


def test_every_declared_value_may_be_used():
    for name, method in METHODS.items():
        values = {setting.name: setting.flag.tune for setting in settings(method) if setting.flag.tune}
        for setting, tried in values.items():
            for value in tried:
                assert isinstance(create(name, **{setting: value}), Method), (setting, value)


def test_the_best_choice_wins_and_the_earlier_of_equals():
    trials = [
        Trial("bomd", {}, 0.5, {}),
        Trial("bomd", {"beta": 3.0}, 0.7, {}),
        Trial("bomd", {"beta": 0.3}, 0.7, {}),
        Trial("mmkd", {}, None, {}),
        Trial("mmkd", {"beta": 1.0}, None, {}),
    ]
    chosen = tune.best(trials, {"bomd": {}, "mmkd": {}, "scratch": {}})
    assert chosen == {"bomd": {"beta": 3.0}, "mmkd": {}, "scratch": {}}


def test_a_choice_is_judged_by_the_mean_of_its_seeds_and_out_if_one_diverged():
    def run(beta, seed, top1):
        summary = None if top1 is None else {"last": {"validation/top1": top1}}
        diverged = "not finite" if top1 is None else None
        return Choice.of("bomd", {"beta": beta}, seed), Result("bomd", seed, [], summary, diverged)

    runs = [
        run(3.0, 7, 0.6),
        run(9.0, 7, 0.9),
        run(1.0, 7, 0.5),
        run(3.0, 8, 0.8),
        run(9.0, 8, None),
        run(1.0, 8, 0.7),
    ]
    trials = tune.averaged(runs)
    assert [(trial.hyperparameters["beta"], trial.top1) for trial in trials] == [
        (3.0, pytest.approx(0.7)),
        (9.0, None),
        (1.0, pytest.approx(0.6)),
    ]
    assert trials[1].by_seed == {7: 0.9, 8: None}
    assert tune.best(trials, {"bomd": {}}) == {"bomd": {"beta": 3.0}}
