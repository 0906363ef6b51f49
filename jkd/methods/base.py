"""The contract of a method: a function of its hyperparameters that returns a `Method`.

The hyperparameters are keyword arguments with defaults, annotated `Annotated[type, "one line of meaning"]`
(with a `jkd.flags.Flag` in place of the line where there is a range or a heading); the command line makes a
flag of each. All functions in a `Method` are pure and jit-able, and see the whole (global)
batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jkd.bilevel import Estimator
from jkd.models import Head, Outputs

Metrics = dict[str, Array]


class Batch(NamedTuple):
    """What a loss sees of the examples: labels, and images as networks see them (augmented, standardised).

    `positions` says which training images they are, where they are a training batch; `label_smoothing` what
    share of a label is spread over all classes, where that is asked for (never of held-out images).
    """

    images: Float[Array, "batch height width channels"]
    labels: Int[Array, " batch"]
    positions: Int[Array, " batch"] | tuple[()] = ()
    label_smoothing: Float[Array, ""] | tuple[()] = ()


class TeacherOutputs(NamedTuple):
    """What a loss sees of a teacher: its `Outputs`, in evaluation mode, and its head. None has a gradient."""

    logits: Float[Array, "batch classes"]
    features: tuple[Float[Array, "batch height width channels"], ...]
    embedding: Float[Array, "batch channels"]
    head: Head


class Variables(NamedTuple):
    """A method's own variables, beside the student's.

    `params` are lower-level: trained with the student on the lower-level loss (regressors, projections).
    `state` is what the loss carries along without a gradient (batch statistics of regressors). `upper` are
    the upper-level variables (teacher weights, weight networks).
    """

    params: PyTree = ()
    state: PyTree = ()
    upper: PyTree = ()


class Loss(NamedTuple):
    """A scalar, what to log, and the method's new `Variables.state`.

    What is logged are scalars, one number per teacher, or one per teacher and class. The trainer logs
    the accuracy of the student's logits as "top1", unless the metrics have one.
    """

    value: Float[Array, ""]
    metrics: Metrics
    state: PyTree = ()


class LossFn(Protocol):
    """The lower-level loss of a batch; `progress` in [0, 1) is the fraction of training done."""

    def __call__(
        self,
        variables: Variables,
        student: Outputs,
        teachers: tuple[TeacherOutputs, ...],
        batch: Batch,
        progress: Float[Array, ""],
    ) -> Loss:
        """Returns the loss."""


class Memory(NamedTuple):
    """A fixed-size store of examples in the training state, from which the upper level draws its batches.

    Beside the examples it keeps what the inner losses ask of the teachers' outputs (`jkd.methods.asked`), so
    that no teacher is asked again.

    It may be in parts: where the first axis of all its arrays is one of parts, each of which is fed by, and
    drawn for, the part of the batch at its place alone, the trainer keeps them where these parts of the batch
    are.
    """

    # An example batch, and the signatures of what to keep of the teachers' outputs for it.
    init: Callable[[Batch, PyTree], PyTree]
    # After each step, with the outputs of the student and of the teachers, all of them.
    update: Callable[[PRNGKeyArray, PyTree, Batch, Outputs, tuple[TeacherOutputs, ...]], PyTree]
    sample: Callable[[PRNGKeyArray, PyTree], tuple[Batch, PyTree]]  # and what was kept for the batch


class UpperLevel(NamedTuple):
    """How the upper-level variables are learned: through unrolled lower-level steps taken from the present
    state, then undone.

    `inner_losses` holds one loss per unrolled step. Each step uses the student's own optimizer in its
    present state. Without a `memory` the unrolled steps see the present training batch and the outer loss a
    batch held out from training; with one, both see a batch drawn from it. With `on_held_out` both see the
    held-out batch, shown as training images are, and the teachers are asked about it.

    `per_example`: `Method.init` gives the upper-level variables of one training image, the trainer gives each
    its own, along a first axis; a loss finds those of its batch at `Batch.positions`.
    """

    inner_losses: tuple[LossFn, ...]
    outer_loss: Callable[[Outputs, Batch], Float[Array, ""]]  # of the student after the unrolled steps
    optimizer: optax.GradientTransformation
    every: int  # one upper-level update every so many steps
    at_epoch_end: bool = False  # and one on the last step of an epoch
    follow_schedule: bool = False  # whether updates shrink with the square of the student's learning rate
    memory: Memory | None = None
    on_held_out: bool = False
    estimator: Estimator = "unrolled"
    rematerialise: bool = False
    per_example: bool = False


class Examples(NamedTuple):
    """Images, not augmented, that a method sees of its teachers' outputs before distillation.

    `observe` applies a function to each teacher's outputs, batch by batch and compiled, and returns its
    results for all examples, one pytree per teacher. They should be small: pooled, not whole maps.
    """

    labels: Int[np.ndarray, " examples"]
    observe: Callable[[Callable[[TeacherOutputs], PyTree]], list[PyTree]]


class Preparation(NamedTuple):
    """What a method has found out about its teachers before distillation; it is kept in the run's folder.

    `state` takes the place of the `Variables.state` that `init` gave, and has its form. `report`, of what
    JSON can hold, goes to the run's summary, `text` to the terminal. `arrays` is what else is worth keeping.
    """

    state: PyTree
    report: dict[str, Any]
    text: str
    arrays: dict[str, np.ndarray]


Predict = Callable[[Variables, Outputs, tuple[Head, ...]], Float[Array, "batch classes"]]
"""The logits of the deployed student, in evaluation mode, from what its network gives, the method's variables
and the teachers' heads."""


class Method(NamedTuple):
    """A distillation method.

    `init` gets the output signatures (shapes and types) of student and teachers, batch axis included; the
    teachers' heads are in them, so that a student can be built on one.
    """

    init: Callable[[PRNGKeyArray, Outputs, tuple[TeacherOutputs, ...]], Variables]
    loss: LossFn
    upper_level: UpperLevel | None = None
    # From the student's transformation, its learning-rate schedule and its momentum: the transformation for
    # `Variables.params`, if not the student's own.
    optimizer: (
        Callable[[optax.GradientTransformation, optax.Schedule, float], optax.GradientTransformation] | None
    ) = None
    needs_teachers: bool = True
    number_of_teachers: int | None = None  # the only one that it is for
    predict: Predict | None = None  # None: the student's network predicts alone
    # What is found out before distillation: from the state that `init` gave, the teachers' names, the
    # training images, and a stratified part (--held-out) that is taken out of these to judge by.
    prepare: Callable[[PyTree, tuple[str, ...], Examples, Examples], Preparation] | None = None

    @property
    def trains_on_held_out(self) -> bool:
        """Whether upper-level variables are trained on held-out images, so that the student must not be."""
        return self.upper_level is not None and self.upper_level.memory is None

    @property
    def uses_held_out(self) -> bool:
        """Whether it learns anything from held-out images."""
        return self.trains_on_held_out or self.prepare is not None


def no_variables(key: PRNGKeyArray, student: Outputs, teachers: tuple[TeacherOutputs, ...]) -> Variables:
    """The `init` of a method that has no variables of its own."""
    del key, student, teachers
    return Variables()
