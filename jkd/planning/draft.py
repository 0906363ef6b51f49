"""What can be decided of a run before any image is read."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from jkd import data, methods, models, teachers
from jkd.data.lessons import Lessons
from jkd.errors import UserError
from jkd.flags import flag_name, resolve
from jkd.methods import Method
from jkd.planning import recipe, settings
from jkd.planning.experiment import Experiment
from jkd.planning.images import check_held_out
from jkd.steps.devices import Devices
from jkd.teachers import recorded
from jkd.teachers.named import Named
from jkd.teachers.teacher import Teacher


class Draft(NamedTuple):
    """What can be decided before any image is read."""

    experiment: Experiment  # checked and complete, but for what depends on the network or the data
    method: Method
    teachers: list[Named | Teacher]
    lessons: Lessons = Lessons()

    @classmethod
    def of(cls, given: Experiment) -> "Draft":
        """Checks all that can be checked before any image is read.

        Raises:
            UserError: a setting is unknown, out of range, or does not fit another or the machine.
        """
        parts = {name: resolve(owner, vars(getattr(given, name))) for name, owner in settings.PARTS.items()}
        make = methods.find(given.method)
        try:
            own = resolve(make, given.hyperparameters)
            method = make(**own)
        except UserError as error:
            raise UserError(f"{given.method}: {error}") from None
        made = {name: owner(**parts[name]) for name, owner in settings.PARTS.items()}
        experiment = dataclasses.replace(given, hyperparameters=own, **made)
        recipe.check(experiment.recipe, experiment.data, experiment.teachers)
        check_held_out(experiment.data, given.method, method)
        if isinstance(experiment.student.student, str):
            try:
                models.maker(experiment.student.student)
            except UserError as error:
                raise UserError(f"--student: {error}") from None
        who: list[Named | Teacher] = []
        if method.needs_teachers:
            who = _who(experiment.teachers, given.method, method)
        if method.number_of_teachers not in (None, len(who)):
            raise UserError(
                f"{given.method}: its settings are for {method.number_of_teachers} teachers, "
                f"and there are {len(who)}: {','.join(teacher.name for teacher in who)}"
            )
        Devices.all().check_batch(experiment.recipe.batch_size, "--batch-size")
        return cls(experiment, method, who)

    @property
    def source(self) -> tuple[Any, ...]:
        """What `data.load` is called with."""
        spec, execution = self.experiment.data, self.experiment.execution
        return spec.dataset, spec.data_dir, spec.image_size, execution.cache_dir, self._streams

    @property
    def _streams(self) -> bool | None:
        """Whether images are read while training; None: where they do not fit into memory.

        Random parts are of images as they lie in files, not scaled before: what is computed is then the same
        whatever the memory.
        """
        spec, stream = self.experiment.data, self.experiment.execution.stream
        if spec.resized_crop is None or not data.can_stream(spec.dataset):
            return stream
        if stream is False:
            raise UserError(
                "--resized-crop takes parts of images as they lie in their files, which streams them; "
                "leave out --no-stream"
            )
        return True


def _who(spec: settings.Teachers, name: str, method: Method) -> list[Named | Teacher]:
    """Returns the teachers: those that are named, else those of whom outputs are kept, else the default."""
    for flag in ("teacher_outputs", "teacher_outputs_in"):
        if (value := getattr(spec, flag)) is not None and not spec.teacher_views:
            raise UserError(f"{flag_name(flag)}={value} needs --teacher-views=V, 1 or more")
    if spec.teachers is None and spec.teacher_outputs is not None:
        if method.prepare is not None:
            raise UserError(
                f"{name} looks at what teachers say of images as they are, and --teacher-outputs="
                f"{spec.teacher_outputs} has what they say of views: give --teachers"
            )
        return list(recorded.read(Path(spec.teacher_outputs)))
    found = teachers.parse(settings.TEACHERS if spec.teachers is None else spec.teachers, spec.teacher_seed)
    given = [teacher.name for teacher in found if isinstance(teacher, Teacher)]
    if given and spec.teacher_dtype is not None:
        raise UserError(
            f"--teacher-dtype={spec.teacher_dtype}: {given[0]} is given and computes in the type that it "
            "was made with; leave it out"
        )
    return found
