"""From settings to a plan: all that is decided before anything is trained."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jkd import data, models
from jkd.data import Dataset
from jkd.data.lessons import taught
from jkd.errors import UserError
from jkd.machine import hosts
from jkd.planning import identity as known
from jkd.planning import recipe as recipes
from jkd.planning import settings
from jkd.planning.draft import Draft
from jkd.planning.experiment import Experiment
from jkd.planning.fit import check_fit
from jkd.planning.images import augmentation_of, seen_by_teachers, split
from jkd.planning.views import check_outputs, check_views
from jkd.steps.devices import Devices
from jkd.steps.state import optimizer
from jkd.steps.task import Task
from jkd.teachers import stored
from jkd.teachers.named import Named
from jkd.teachers.teacher import Teacher
from jkd.training.job import Job
from jkd.training.source import reading


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """All that is decided before anything is trained.

    Attributes:
        experiment: The settings, complete: nothing is left to a default.
        job: The training: method, networks, data set, steps, devices.
        teachers: Each ready to teach, or the plan of the run that makes it.
        identity: Everything that decides what is computed; a run's folder belongs to it.
        folder: The run's folder.
        notes: What the run must say of its images: a part that was drawn, or that its teachers may know.
    """

    experiment: Experiment
    job: Job
    teachers: "tuple[Teacher | Plan, ...]"
    identity: dict[str, Any]
    folder: Path
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Says what will be done."""
        job, recipe = self.job, self.experiment.recipe
        dataset, devices = job.dataset, job.task.devices
        settled = ", ".join(f"{name} {value}" for name, value in self.experiment.hyperparameters.items())
        counts = {"to train on": len(job.train_indices), "held out": len(job.held_out)}
        if dataset.validation_images is not None:
            counts["for validation"] = len(dataset.validation_images)
        counts["to test on"] = len(dataset.test_images)
        parts = [f"{count:,} {what}" for what, count in counts.items() if count]
        height, width = dataset.train_images.shape[1:3]
        lines = [
            f"{self.folder}",
            f"  method    {self.experiment.method}" + (f" ({settled})" if settled else ""),
            f"  data      {dataset.name}: {', '.join(parts)}; "
            f"{dataset.num_classes} classes, {height}×{width}",
            *([f"  streamed  {said}"] if (said := reading(job)) else []),
            *(f"  teacher   {_described(teacher)}" for teacher in self.teachers),
            f"  student   {known.student_name(self.experiment)}, seed {job.seed}",
            f"  training  {job.epochs} epochs of {job.task.epoch_steps} steps, batches of {job.batch_size}, "
            f"{recipes.described(recipe)}, {recipe.dtype}, on {devices.count} × {devices.kind}",
            *([f"  views     each image in {job.views} fixed augmentations"] if job.views else []),
            *(f"  note      {note}" for note in self.notes),
        ]
        return "\n".join(lines)

    def at(self, folder: Path) -> "Plan":
        """Returns the same plan with another folder."""
        again = self.experiment.execution.again
        there = known.folder(folder.parent, self.identity, "", str(folder), again)
        return dataclasses.replace(self, folder=there)

    @property
    def untrained(self) -> bool:
        """Whether the network stays as it begins: nothing is trained, and there is no folder."""
        return self.job.epochs == 0

    @cached_property
    def teacher(self) -> Teacher:
        """The teacher that this run makes, with the shapes of its variables in place of these."""
        shape = self.job.dataset.train_images.shape[1:3]
        architecture, dtype = known.student_name(self.experiment), self.experiment.teaching_dtype
        network = models.create(architecture, self.job.dataset.num_classes, dtype)
        variables, seen = stored.abstract(network, shape), stored.trained_on(self.identity)
        return Teacher.of(network, variables, known.teacher_name(self.identity), trained_on=seen)


def plan(experiment: Experiment) -> Plan:
    """Decides everything about one run; see `plans`."""
    return plans([experiment])[0]


def plans(experiments: Sequence[Experiment]) -> list[Plan]:
    """Decides everything about runs that may share images and teachers, which are then read once.

    Raises:
        UserError: a setting is unknown, out of range, or does not fit another, the data or the machine. All
            settings are checked before any image is read.
    """
    if any(experiment.execution.distributed for experiment in experiments):
        hosts.join()
    drafts = [Draft.of(experiment) for experiment in experiments]
    for source in dict.fromkeys(draft.source for draft in drafts):
        data.check(*source)
    datasets: dict[Any, Dataset] = {}
    known_teachers: dict[Any, Teacher | Plan] = {}
    return [_decide(draft, _dataset(draft, datasets), known_teachers) for draft in drafts]


def _dataset(draft: Draft, loaded: dict[Any, Dataset]) -> Dataset:
    source, validation = draft.source, draft.experiment.data.validation
    if source not in loaded:
        loaded[source] = data.load(*source)
    if validation and (source, validation) not in loaded:
        loaded[source, validation] = data.split_validation(loaded[source], validation)
    return loaded[source, validation] if validation else loaded[source]


def _decide(draft: Draft, dataset: Dataset, known_teachers: "dict[Any, Teacher | Plan]") -> Plan:
    experiment, method, dtype = draft.experiment, draft.method, draft.experiment.recipe.dtype
    who = tuple(_teacher(experiment, one, dataset, known_teachers) for one in draft.teachers)
    student = experiment.student.student
    passes = recipes.epochs(experiment.recipe, experiment.data)
    rate = recipes.learning_rate(experiment.recipe, known.student_name(experiment))
    nesterov = recipes.nesterov(experiment.recipe, experiment.teachers, method.needs_teachers)
    recipe = dataclasses.replace(experiment.recipe, epochs=passes, learning_rate=rate, nesterov=nesterov)
    experiment = dataclasses.replace(experiment, recipe=recipe)
    if isinstance(student, str):
        network = models.create(student, dataset.num_classes, dtype)
    elif dtype == "float32":
        network = models.OwnNetwork(student, known.student_name(experiment))
    else:
        raise UserError(f"--dtype={dtype}: a module that is given computes in the type that it was made with")
    augmentation = augmentation_of(experiment.data, dataset)
    parts = split(experiment, dataset, method, draft.lessons)
    epoch_steps = len(parts.trained_on) // recipe.batch_size
    schedule = recipes.schedule(recipe, rate, epoch_steps, passes * epoch_steps)
    lower = optimizer(method, schedule, recipe.momentum, nesterov, recipe.weight_decay, recipe.optimizer)
    task = Task(
        method=method,
        student=network,
        teachers=tuple(_as_teacher(teacher).network(augmentation) for teacher in who),
        optimizer=lower,
        augmentation=augmentation,
        epoch_steps=epoch_steps,
        total_steps=passes * epoch_steps,
        devices=Devices.all(),
        relative_rate=lambda step: schedule(step) / rate,
        highest_rate=rate,
        label_smoothing=recipe.label_smoothing,
    )
    execution = experiment.execution
    job = Job(
        task=task,
        dataset=dataset,
        seed=experiment.student.seed,
        train_indices=parts.trained_on,
        held_out=parts.held_out,
        batch_size=recipe.batch_size,
        epochs=passes,
        steps_per_call=execution.steps_per_call,
        checkpoint_every=execution.checkpoint_every,
        eval_batch_size=execution.eval_batch_size,
        resized_crop=experiment.data.resized_crop,
        views=experiment.teachers.teacher_views if method.needs_teachers else 0,
    )
    listed = [one.identity if isinstance(one, Plan) else one for one in who]
    identity = known.identify(experiment, job, listed, parts)
    folder = known.folder(Path("runs"), identity, dataset.name, execution.workdir, execution.again)
    ready = [_as_teacher(teacher) for teacher in who]
    if job.views:
        check_views(job)
    if job.views and (named := experiment.teachers.teacher_outputs) is not None:
        known_all = all(isinstance(one, Teacher) for one in who)
        check_outputs(Path(named), job, experiment.teaching_dtype, ready, known_all)
    check_fit(job, ready, known.student_name(experiment), experiment.method)
    notes = *dataset.notes, *seen_by_teachers(dataset, parts, method, ready)
    return Plan(experiment, job, who, identity, folder, notes)


def _teacher(
    experiment: Experiment,
    given: Named | Teacher,
    dataset: Dataset,
    known_teachers: "dict[Any, Teacher | Plan]",
) -> Teacher | Plan:
    """Returns a teacher that is ready, or the plan of the run that makes it."""
    if isinstance(given, Teacher):
        return given
    key = (given, id(dataset), experiment.data, experiment.recipe, experiment.teachers)
    if key not in known_teachers:
        if given.path is not None:
            found: Teacher | Plan = stored.read(given, dataset.num_classes, experiment.teaching_dtype)
        else:
            found = _training_of(given, experiment, dataset)
        known_teachers[key] = found
    return known_teachers[key]


def _training_of(given: Named, experiment: Experiment, dataset: Dataset) -> Plan:
    """Returns the plan of the run that makes a teacher: as the student's, without teachers of its own.

    Raises:
        UserError: its lessons do not fit the data set.
    """
    spec, recipe = experiment.teachers, experiment.recipe
    alone = dataclasses.replace(
        experiment,
        method="scratch",
        hyperparameters={},
        recipe=dataclasses.replace(recipe, epochs=spec.teacher_epochs or recipe.epochs),
        student=settings.Student(given.architecture, given.seed or 0),
        execution=dataclasses.replace(experiment.execution, workdir=None, again=False),
    )
    try:
        made = _decide(Draft.of(alone)._replace(lessons=given.lessons), dataset, {})
    except UserError as error:
        raise UserError(f"--teachers: {given.name}: {error}" if given.less else str(error)) from None
    job, identity = made.job, made.identity
    job = dataclasses.replace(job, dataset=taught(dataset, given.lessons, job.seed))
    if given.untrained:
        job = dataclasses.replace(job, epochs=0)
        identity |= {"recipe": identity["recipe"] | {"epochs": 0}}
    if given.less:
        identity |= {"lessons": given.less}
    folder = known.folder(Path(spec.teacher_dir), identity, dataset.name, None, False)
    return dataclasses.replace(made, job=job, identity=identity, folder=folder, notes=job.dataset.notes)


def _as_teacher(teacher: Teacher | Plan) -> Teacher:
    return teacher.teacher if isinstance(teacher, Plan) else teacher


def _described(teacher: Teacher | Plan) -> str:
    if isinstance(teacher, Teacher) or teacher.untrained:
        return _as_teacher(teacher).name
    there = "found" if (teacher.folder / "summary.json").exists() else "to be trained first"
    return f"{teacher.teacher.name} ({there}: {teacher.folder})"
