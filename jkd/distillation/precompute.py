"""What teachers say of all views, written before any student is trained."""

from pathlib import Path

from jkd.distillation.distil import Faculty, cache_programs
from jkd.distillation.views import open_outputs, said
from jkd.errors import UserError
from jkd.planning.plan import Plan
from jkd.training.beginning import begin


def precompute(plan: Plan) -> Path:
    """Asks the teachers of a plan about all views; those that are missing are trained first.

    Returns:
        The folder where what they say is kept, for any run of the same images, augmentation and teachers that
        asks for no more than this plan's method does.

    Raises:
        UserError: The plan has no views, the folder is of something else or cannot be written.
        jkd.Interrupted: The time limit asked to stop while a teacher was trained; what was done is saved.
    """
    if not plan.job.views:
        raise UserError("--teacher-views=0: give 1 or more, or there is nothing to keep")
    cache_programs(plan.experiment.execution)
    faculty = Faculty.of(plan)
    who = faculty.teachers
    state, signatures = begin(plan.job, tuple(teacher.variables for teacher in who))
    outputs = open_outputs(plan, who, faculty.rating, state, signatures)
    for view in range(plan.job.views):
        said(outputs, view)
    return outputs.path
