"""What can be decided of a run before any image is read."""

import dataclasses
from typing import Any, NamedTuple

from jkd import data, methods, models, teachers
from jkd.data.lessons import Lessons
from jkd.errors import UserError
from jkd.flags import resolve
from jkd.methods import Method
from jkd.planning import recipe, settings
from jkd.planning.experiment import Experiment
from jkd.planning.images import check_held_out
from jkd.teachers.named import Named
from jkd.teachers.teacher import Teacher
from jkd.training.devices import Devices


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
            who = teachers.parse(experiment.teachers.teachers, experiment.teachers.teacher_seed)
        if method.number_of_teachers not in (None, len(who)):
            raise UserError(
                f"{given.method}: its settings are for {method.number_of_teachers} teachers, "
                f"and there are {len(who)}: {','.join(map(str, experiment.teachers.teachers))}"
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
