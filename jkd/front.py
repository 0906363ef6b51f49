"""What Python code calls: the command lines' own functions, with keyword arguments for flags."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jkd import methods
from jkd.comparison.compare import Compare
from jkd.comparison.compare import compare as compare_settings
from jkd.comparison.outcome import Table
from jkd.distillation.distil import distil as carry_out
from jkd.distillation.student import Student
from jkd.errors import UserError, nearest
from jkd.flags import settings
from jkd.methods import Method
from jkd.planning.experiment import Experiment
from jkd.planning.plan import Plan
from jkd.planning.plan import plan as decide
from jkd.planning.settings import time_limit

NamedOrMade = str | Callable[..., Method]


def plan(method: NamedOrMade, **given: Any) -> Plan:
    """Decides everything about a run and trains nothing; `print` the plan to see what `distil` would do.

    Args:
        method: As for `distil`.
        given: As for `distil`.

    Raises:
        UserError: a setting is unknown, out of range, or does not fit another, the data or the machine.
    """
    return decide(Experiment.of(method, **given))


def distil(method: NamedOrMade, **given: Any) -> Student:
    """Trains the teachers that are missing, then a student; one that is there already is not trained again.

    The same settings here and on the command line are the same run, in the same folder.

    Args:
        method: A method's name, such as "bomd", or a function that makes one.
        given: The flags of `python -m jkd.experiments.METHOD` by their names, with _ for -, and the method's
            hyperparameters: `dataset="digits"`, `teachers=["resnet14", "wrn_16_1"]`, `student="resnet8"`,
            `epochs=5`, `seed=1`, `beta=30`. `dataset` may be a `jkd.Data`, each of `teachers` a
            `jkd.Teacher`, `student` a Flax module.

    Returns:
        The student, as it is deployed.

    Raises:
        UserError: a mistake in the settings, found before anything is trained.
        jkd.Interrupted: a signal or the time limit asked to stop; what was done is saved, and the same call
            goes on from there.
        jkd.Diverged: the loss stopped being finite.
    """
    experiment = Experiment.of(method, **given)
    with time_limit(experiment.execution):
        decided = decide(experiment)
        trained = carry_out(decided)
    module = decided.experiment.student.student
    return Student.of(trained, None if isinstance(module, str) else module)


def compare(compared: Sequence[NamedOrMade] = Compare.methods, /, **given: Any) -> Table | None:
    """Trains students by several methods with several seeds and the same teachers, and compares them.

    Args:
        compared: The methods: names, or functions that make them; "NAME=METHOD" for a second row of one.
        given: The flags of `python -m jkd.experiments.compare` by their names, with _ for -, such as
            `seeds=[0, 1, 2]`, `tune=True` and all of `distil`'s but `seed`; and under a row's name a
            dictionary of its own hyperparameters: `bomd={"beta": 30}`.

    Returns:
        The table; None for a shard, which makes none.

    Raises:
        UserError: a mistake in the settings, found before anything is trained.
        jkd.Interrupted: a signal or the time limit asked to stop; what was done is saved, and the same call
            goes on from there.
    """
    names = []
    for method in compared:
        if not isinstance(method, str):
            methods.register(method.__name__, method)
        names.append(method if isinstance(method, str) else method.__name__)
    rows = [name.partition("=")[0] for name in names]
    own = {row: given.pop(row) for row in rows if isinstance(given.get(row), Mapping)}
    about = {s.name for s in settings(Compare)} - {"methods"}
    comparison = {name: given.pop(name) for name in list(given) if name in about}
    if "seed" in given:
        raise UserError(f"unknown setting 'seed'{nearest('seed', about)}: a comparison has seeds=[0, 1, 2]")
    base = Experiment.of("scratch", **given)
    return compare_settings(Compare(methods=tuple(names), **comparison), base, own)
