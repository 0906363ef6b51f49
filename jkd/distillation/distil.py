"""From a plan to a trained run: teachers made ready, the student trained, the run's folder filled."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property

import jax

from jkd import run as run_folder
from jkd.distillation import tested
from jkd.distillation.preparation import prepare
from jkd.distillation.shown import is_shown, show
from jkd.distillation.summary import headline, summarise
from jkd.distillation.views import in_views
from jkd.machine import files, hosts
from jkd.planning.identity import made_by_other_code
from jkd.planning.plan import Plan
from jkd.planning.settings import Execution
from jkd.run import Contents, Run
from jkd.steps import deployed
from jkd.steps.calls import Call, compile_call
from jkd.steps.deployed import Deployed
from jkd.steps.state import student_variables
from jkd.teachers import Teacher
from jkd.teachers.ratings import Rating, check_same, rate
from jkd.training.beginning import begin
from jkd.training.job import Job, Taught
from jkd.training.loop import train
from jkd.training.source import steps_per_call
from jkd.training.together import Training, compile_together, drive


@dataclasses.dataclass(frozen=True)
class Faculty:
    """Teachers that are ready, shared by runs with the same test images; rated when first needed."""

    teachers: tuple[Teacher, ...]
    job: Job

    @classmethod
    def of(cls, plan: Plan) -> "Faculty":
        """Returns the teachers of a plan, those that are missing trained first."""
        return cls(tuple(_ready(teacher) for teacher in plan.teachers), plan.job)

    @cached_property
    def rating(self) -> Rating:
        """Test metrics of each teacher and of their ensemble, and the ensemble's logits; printed."""
        return rate(self.teachers, self.job)


def distil(plan: Plan, faculty: Faculty | None = None) -> Contents:
    """Carries a plan out: trains the teachers that are missing, then the student.

    A run that is finished is not repeated; one that was stopped goes on where it stopped.

    Args:
        plan: What is to be done.
        faculty: The plan's teachers, where runs share them.

    Returns:
        The trained run: what its folder says.

    Raises:
        UserError: the folder cannot be written, is in use, or belongs to another configuration.
        jkd.Interrupted: a signal or the time limit asked to stop; what was done is saved.
        jkd.training.loop.Diverged: the loss stopped being finite.
    """
    (result,) = distil_together([plan], faculty)
    if isinstance(result, Exception):
        raise result
    return result


def distil_together(plans: Sequence[Plan], faculty: Faculty | None = None) -> list[Contents | Exception]:
    """Carries out plans that differ in their seeds alone, by the same compiled calls.

    Args:
        plans: What is to be done.
        faculty: The plans' teachers.

    Returns:
        For each the trained run, or why there is none: it diverged, or another process is at it.

    Raises:
        UserError: a folder cannot be written, or belongs to another configuration.
        jkd.Interrupted: a signal or the time limit asked to stop; what was done is saved.
    """
    call: list[Call] = []

    def compiled(job: Job) -> Call:
        if not call:
            made = (job.task, steps_per_call(job))
            call.append(compile_together(*made, len(plans)) if len(plans) > 1 else compile_call(*made))
        return call[0]

    return drive([_distilling(plan, faculty, compiled) for plan in plans])


def _distilling(plan: Plan, faculty: Faculty | None, compiled: Callable[[Job], Call]) -> Training[Contents]:
    cache_programs(plan.experiment.execution)
    job, figures = plan.job, plan.experiment.execution.figures
    with Run.open(plan.folder, plan.identity) as run:
        contents = run_folder.read(run.workdir)
        if contents.summary is not None:
            run_folder.check_finished(run.workdir)
            whom = _by_whom(contents)
            anew = "; --again makes it anew beside it" if whom else ""
            print(f"{run.workdir} is finished: {headline(contents.summary)}{whom}{anew}", flush=True)
            if hosts.is_first() and not is_shown(run.workdir, figures):
                show(contents, figures)
            return contents
        if contents.records and (whom := _by_whom(contents)):
            print(f"{run.workdir} goes on{whom}", flush=True)
        for note in plan.notes:
            print(note, flush=True)
        taught, rating = Taught(), None
        ready = (faculty or Faculty.of(plan)) if plan.teachers else None
        who = ready.teachers if ready else ()
        variables = tuple(teacher.variables for teacher in who)
        state, signatures = begin(job, variables)
        if ready:
            rating = ready.rating
            if hosts.is_first():
                check_same(run, who, rating, signatures)
            taught = Taught(variables, rating.logits)
        state, found = prepare(job, variables, state, tuple(t.name for t in who), run.workdir)
        if rating and job.views:
            job, taught = in_views(plan, who, rating, state, signatures)
        state, predict = yield from train(job, taught, state, run, compiled)
        student = Deployed.of(job.task, state, taught.teachers)
        cost = deployed.cost(job.task, student, job.dataset.train_images.shape[1:])
        logits = predict(student, job.dataset.test_images)
        summary = summarise(plan.identity, job.dataset.name, run.records, rating) | cost | found
        summary["notes"] = list(plan.notes)
        if hosts.is_first():  # before it is finished: a run that is lacks nothing
            tested.keep(run.workdir, job.dataset, logits, rating)
            show(run_folder.read(run.workdir)._replace(summary=files.plain(summary)), figures)
        run.finish(summary)
        hosts.meet(f"{run.workdir} is finished")
        print(f"{run.workdir} is finished: {headline(summary)}", flush=True)
        return run_folder.read(run.workdir)


def cache_programs(execution: Execution) -> None:
    """Keeps compiled programs on disk: a second teacher, or a second start, need not compile again."""
    jax.config.update("jax_compilation_cache_dir", str(files.cache_folder(execution.cache_dir) / "compiled"))


def _ready(teacher: Teacher | Plan) -> Teacher:
    if isinstance(teacher, Teacher):
        return teacher
    expected = teacher.teacher
    if teacher.untrained:
        cache_programs(teacher.experiment.execution)
        state, _ = begin(teacher.job, ())
        return dataclasses.replace(expected, variables=student_variables(state))
    if not hosts.agreed((teacher.folder / "summary.json").exists):
        distil(teacher)
    else:
        found = run_folder.read(teacher.folder)
        run_folder.check_same(teacher.folder, found.config, teacher.identity)
        run_folder.check_finished(teacher.folder)
        if whom := _by_whom(found):
            print(f"{teacher.folder} is found{whom}", flush=True)
    variables = run_folder.restore_item(teacher.folder, "student", expected.variables)
    return dataclasses.replace(expected, variables=variables)


def _by_whom(contents: Contents) -> str:
    """Returns what a line about a run adds where other code of jkd began it."""
    if not made_by_other_code(contents):
        return ""
    commit = contents.sessions[0].get("commit") or f"version {contents.sessions[0]['versions']['jkd']}"
    return f" (begun by other code of jkd, {commit[:12]})"
