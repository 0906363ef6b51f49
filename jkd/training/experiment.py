"""An experiment from its settings to its summary: data, teachers, student, method, the run's folder."""

import dataclasses
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jkd import data, files, methods, models
from jkd.data import Dataset
from jkd.methods import Method
from jkd.report.picture import draw
from jkd.run import Run
from jkd.training import config as settings
from jkd.training import deployed
from jkd.training import teachers as teaching
from jkd.training.deployed import Deployed
from jkd.training.devices import Devices
from jkd.training.loop import Job, train
from jkd.training.plan import Experiment, augmentation, epochs, identity_of, slug, split, workdir
from jkd.training.preparation import prepare
from jkd.training.state import State, initial, optimizer
from jkd.training.step import Task, teacher_outputs, with_totals
from jkd.training.teachers import Entry, Teacher


def cache_programs(execution: settings.Execution) -> None:
    """Keeps compiled programs on disk: a second teacher, or a second start, need not compile again."""
    jax.config.update("jax_compilation_cache_dir", str(files.cache_folder(execution.cache_dir) / "compiled"))


def validate(experiment: Experiment) -> None:
    """Checks everything that can be checked before any image is read or any file written.

    Raises:
        UserError: a setting is unknown, out of range, or does not fit another or the machine.
    """
    method = methods.create(experiment.method, **experiment.hyperparameters)
    for part in (
        experiment.data,
        experiment.recipe,
        experiment.teachers,
        experiment.student,
        experiment.execution,
    ):
        settings.check_values(part)
    teaching.check_architecture(experiment.student.student, "--student")
    if method.needs_teachers:
        teaching.entries(experiment.teachers.teachers, experiment.teachers.teacher_seed)
    Devices.all().check_batch(experiment.recipe.batch_size, "--batch-size")
    data.check(experiment.data.dataset, experiment.data.data_dir, experiment.data.image_size)


def distil(experiment: Experiment) -> dict[str, Any]:
    """Trains the teachers that are missing, then the student; returns the summary that is in the run's
    folder.

    A run that is finished is not repeated; one that was stopped goes on where it stopped.

    Raises:
        UserError: a mistake in the settings, found before anything is trained.
        jkd.training.loop.Interrupted: a signal asked to stop; what was done is saved.
        jkd.training.loop.Diverged: the loss stopped being finite.
    """
    validate(experiment)
    cache_programs(experiment.execution)
    spec = experiment.data
    return _distil(
        experiment, data.load(spec.dataset, spec.data_dir, spec.image_size, experiment.execution.cache_dir)
    )


def train_teachers(experiment: Experiment) -> list[dict[str, Any]]:
    """Trains the teachers that are missing; prints and returns the names and test metrics of all of them."""
    validate(experiment)
    cache_programs(experiment.execution)
    spec = experiment.data
    dataset = data.load(spec.dataset, spec.data_dir, spec.image_size, experiment.execution.cache_dir)
    return Faculty.of(experiment, dataset).rating[0]


@dataclasses.dataclass(frozen=True)
class Faculty:
    """Teachers that are ready, shared by several experiments on one data set and rated when first needed."""

    experiment: Experiment
    dataset: Dataset
    teachers: dict[Entry, Teacher]

    @classmethod
    def of(cls, experiment: Experiment, dataset: Dataset) -> "Faculty":
        """Returns the teachers of an experiment, those that are missing trained first."""
        entries = _entries(experiment, dataset)
        given = {e: teaching.load(e, dataset.num_classes) for e in entries if e.path is not None}
        ready = _teachers(experiment, dataset, entries, given)
        return cls(experiment, dataset, dict(zip(entries, ready, strict=True)))

    @cached_property
    def rating(self) -> tuple[list[dict[str, Any]], dict[str, Any], np.ndarray]:
        """Test metrics of each teacher and of their ensemble, and the ensemble's logits; printed."""
        return _rate(self.experiment, self.dataset, list(self.teachers.values()))


def distil_on(dataset: Dataset, experiment: Experiment, faculty: Faculty) -> dict[str, Any]:
    """Like `distil`, of a valid experiment, on a data set at hand and with teachers that are ready."""
    return _distil(experiment, dataset, faculty)


def _distil(experiment: Experiment, dataset: Dataset, faculty: Faculty | None = None) -> dict[str, Any]:
    method = methods.create(experiment.method, **experiment.hyperparameters)
    entries = _entries(experiment, dataset) if method.needs_teachers else []
    # Read before anything is trained: a teacher that does not fit is a mistake in the settings.
    if faculty is not None:
        given = {e: faculty.teachers[e] for e in entries}
    else:
        given = {e: teaching.load(e, dataset.num_classes) for e in entries if e.path is not None}
    indices = split(experiment, dataset, method)
    identity = identity_of(experiment, dataset, entries, given)
    with Run.open(workdir(experiment, identity), identity) as run:
        if run.summary is not None:
            print(f"{run.workdir} is finished: {_headline(run.summary)}", flush=True)
            return run.summary
        ready = _teachers(experiment, dataset, entries, given)
        rated: list[dict[str, Any]] = []
        ensemble: dict[str, Any] = {}
        ensemble_logits: np.ndarray | None = None
        if ready:
            rated, ensemble, ensemble_logits = (
                faculty.rating if faculty is not None else _rate(experiment, dataset, ready)
            )
            teaching.check_same(run, ready, rated, ensemble)
        job, state = _job(experiment, dataset, indices, method, ready, ensemble_logits, run.workdir.name)
        state, found = prepare(job, state, tuple(t.name for t in ready), run.workdir)
        state = train(job, state, run)
        cost = deployed.cost(job.task, Deployed.of(state, job.teachers), dataset.train_images.shape[1:])
        summary = _summary(identity, dataset, run, rated, ensemble) | cost | found
        run.finish(summary)
        draw(
            run.records,
            run.workdir / "picture.png",
            teachers=[(row["name"], row["top1"]) for row in rated],
            ensemble_top1=ensemble.get("top1"),
            title=run.workdir.name,
        )
        print(f"{run.workdir} is finished: {_headline(summary)}", flush=True)
        return summary


def _entries(experiment: Experiment, dataset: Dataset) -> list[Entry]:
    return teaching.entries(experiment.teachers.teachers, experiment.teachers.teacher_seed)


def _teachers(
    experiment: Experiment, dataset: Dataset, entries: list[Entry], given: dict[Entry, Teacher]
) -> list[Teacher]:
    """Returns the teachers, trained first where they are not found."""
    return [
        given[entry] if entry in given else _found_or_trained(experiment, dataset, entry) for entry in entries
    ]


def _found_or_trained(experiment: Experiment, dataset: Dataset, entry: Entry) -> Teacher:
    if entry.path is not None:
        return teaching.load(entry, dataset.num_classes)
    recipe = experiment.recipe
    alone = dataclasses.replace(
        experiment,
        method="scratch",
        hyperparameters={},
        recipe=dataclasses.replace(recipe, epochs=experiment.teachers.teacher_epochs or recipe.epochs),
        student=settings.Student(entry.architecture, entry.seed or 0),
    )
    identity = identity_of(alone, dataset, [], {})
    folder = Path(experiment.teachers.teacher_dir) / slug(alone, identity)
    alone = dataclasses.replace(
        alone, execution=dataclasses.replace(experiment.execution, workdir=str(folder))
    )
    if not (folder / "summary.json").exists():
        _distil(alone, dataset)
    loaded = teaching.load(entry._replace(path=folder), dataset.num_classes)
    return loaded._replace(name=entry.name)


def _rate(
    experiment: Experiment, dataset: Dataset, ready: list[Teacher]
) -> tuple[list[dict[str, Any]], dict[str, Any], np.ndarray]:
    recipe, execution = experiment.recipe, experiment.execution
    return teaching.rate(
        ready, dataset, augmentation(experiment, dataset), recipe.dtype, execution.eval_batch_size
    )


def _job(
    experiment: Experiment,
    dataset: Dataset,
    indices: tuple[np.ndarray, np.ndarray],
    method: Method,
    ready: list[Teacher],
    ensemble_logits: np.ndarray | None,
    name: str,
) -> tuple[Job, State]:
    recipe, devices = experiment.recipe, Devices.all()
    kept, held_out = indices
    passes = epochs(experiment)
    epoch_steps = len(kept) // recipe.batch_size
    rate = settings.schedule(recipe, experiment.student.student, passes * epoch_steps)
    student = models.create(experiment.student.student, dataset.num_classes, recipe.dtype)
    networks = tuple(models.create(t.architecture, dataset.num_classes, recipe.dtype) for t in ready)
    variables = tuple(t.variables for t in ready)
    lower = optimizer(method, rate, recipe.momentum, recipe.nesterov, recipe.weight_decay)
    task = Task(
        method=method,
        student=student,
        teachers=networks,
        optimizer=lower,
        augmentation=augmentation(experiment, dataset),
        epoch_steps=epoch_steps,
        total_steps=passes * epoch_steps,
        devices=devices,
        relative_rate=lambda step: rate(step) / rate(0),
    )
    images = jax.ShapeDtypeStruct((recipe.batch_size, *dataset.train_images.shape[1:]), jnp.float32)
    signatures = jax.eval_shape(partial(teacher_outputs, networks), variables, images)
    # Drawing initial values with threefry compiles for seconds on the CPU, once for each shape.
    key = jax.random.key(experiment.student.seed, impl="rbg")
    state = initial(key, jax.random.key(experiment.student.seed), method, student, signatures, lower, images)
    state = with_totals(task, state, variables, images.shape)
    job = Job(
        name=name,
        task=task,
        dataset=dataset,
        seed=experiment.student.seed,
        train_indices=kept,
        held_out=held_out,
        batch_size=recipe.batch_size,
        epochs=passes,
        steps_per_call=experiment.execution.steps_per_call,
        checkpoint_every=experiment.execution.checkpoint_every,
        eval_batch_size=experiment.execution.eval_batch_size,
        teachers=variables,
        vote=ensemble_logits,
    )
    return job, state


def _summary(
    identity: dict[str, Any],
    dataset: Dataset,
    run: Run,
    rated: list[dict[str, Any]],
    ensemble: dict[str, Any],
) -> dict[str, Any]:
    records = run.records
    best = max(records, key=lambda record: record["test/top1"])

    def tests(record: dict[str, Any]) -> dict[str, Any]:
        return {"epoch": record["epoch"]} | {
            name: value for name, value in record.items() if name.startswith("test/")
        }

    return {
        "method": identity["method"],
        "student": identity["student"],
        "dataset": dataset.name,
        "seed": identity["seed"],
        "split": "test",
        "last": tests(records[-1]),
        "best": tests(best) | {"chosen_on": "the test set, so it flatters: compare by the last epoch"},
        "teachers": rated,
        "ensemble": ensemble,
        "time/images_per_second": float(np.median([r["time/images_per_second"] for r in records])),
    }


def _headline(summary: dict[str, Any]) -> str:
    last, best = summary["last"], summary["best"]
    return (
        f"test top-1 {last['test/top1']:.2%} at the last epoch ({last['epoch']}), "
        f"top-5 {last['test/top5']:.2%}, calibration error {last['test/ece']:.4f}; "
        f"best {best['test/top1']:.2%} at epoch {best['epoch']} "
        "(chosen on the test set)"
    )
