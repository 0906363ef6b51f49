"""What defines a run: settings with their defaults, and the recipe they stand for."""

import dataclasses
import hashlib
import json
from contextlib import AbstractContextManager
from typing import Annotated, Any

import optax
from flax import linen as nn

from jkd.data import Data as Arrays
from jkd.data.images import LARGEST_SIZE
from jkd.flags import MAX_SEED, Flag, resolve
from jkd.machine import process
from jkd.teachers.teacher import Teacher

# RepDistiller's recipe, shared by CA-MKD's and MMKD's code: 240 epochs, the rate ×0.1 at 150, 180 and 210.
PAPER_EPOCHS = 240
DIGITS_EPOCHS = 10  # ours: enough for 98 % on the digits, in seconds
DECAYS = (0.625, 0.75, 0.875)
LEARNING_RATE = 0.05
# The same recipe's exception for networks that do not train at 0.05.
SLOW_LEARNING_RATE = 0.01
SLOW_FAMILIES = ("mobilenet", "shuffle")


@dataclasses.dataclass(frozen=True)
class Data:
    """Data: which images, and how they are augmented."""

    dataset: Annotated[
        str | Arrays,
        Flag(
            "digits, a tensorflow-datasets name (cifar10, cifar100, ...), npz:PATH, folder:PATH, or a "
            "name that --import registers"
        ),
    ] = "digits"
    data_dir: Annotated[
        str | None,
        Flag("where tensorflow-datasets keeps its data", default="its own default"),
    ] = None
    image_size: Annotated[
        int | None,
        Flag("resize all images to N×N pixels", at_least=1, at_most=LARGEST_SIZE, default="as they are"),
    ] = None
    crop: Annotated[bool, Flag("pad and crop at random")] = True
    flip: Annotated[bool | None, Flag("flip at random", default="yes, but no for digits")] = None
    standardise: Annotated[bool, Flag("subtract the channel means, divide by the deviations")] = True
    held_out: Annotated[
        float,
        Flag(
            "fraction of each class's training images that no network is trained on: upper levels and "
            "probes learn from them",
            at_least=0,
            below=1,
        ),
    ] = 0.05
    held_out_from: Annotated[
        str,
        Flag(
            "who is not trained on them: everyone, teachers and students; or, as in published tables, "
            "only users, students whose upper level is trained on them",
            choices=("everyone", "users"),
        ),
    ] = "everyone"
    validation: Annotated[
        float,
        Flag(
            "fraction of the training images, held out from all, to choose the best epoch on",
            at_least=0,
            below=1,
        ),
    ] = 0.0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Recipe: how teachers and student are trained."""

    epochs: Annotated[
        int | None,
        Flag(
            "passes over the training images", at_least=1, default=f"{PAPER_EPOCHS}; digits {DIGITS_EPOCHS}"
        ),
    ] = None
    batch_size: Annotated[int, Flag("examples in a batch, over all devices", at_least=1)] = 64
    learning_rate: Annotated[
        float | None,
        Flag(
            "SGD's rate at the start, ×0.1 at 5/8, 6/8 and 7/8 of the steps",
            above=0,
            default=f"{LEARNING_RATE}; {SLOW_LEARNING_RATE} for mobilenets and shufflenets",
        ),
    ] = None
    momentum: Annotated[float, Flag("SGD's momentum", at_least=0, below=1)] = 0.9
    # As the students of CA-MKD, MMKD and MTKD-RL; the teachers and students of RepDistiller, mdistiller and
    # SimKD, and CA-MKD's teachers, have plain momentum.
    nesterov: Annotated[bool, Flag("Nesterov's form of the momentum")] = True
    weight_decay: Annotated[float, Flag("L2 coefficient, on every parameter", at_least=0)] = 5e-4
    dtype: Annotated[
        str, Flag("type the networks compute in; parameters stay float32", choices=("float32", "bfloat16"))
    ] = "float32"


@dataclasses.dataclass(frozen=True)
class Teachers:
    """Teachers: who is listened to."""

    teachers: Annotated[
        tuple[str | Teacher, ...],
        Flag(
            "each ARCH (trained first if not found) or ARCH@PATH, with how it sees images if not as the "
            "student does: ARCH@PATH:mean=R/G/B:std=R/G/B:size=N; poorer ones: ARCH:untrained, "
            "ARCH:wrong-labels=0.4, ARCH:classes=0-6, ARCH:grey, ARCH:resolution=0.25; ARCH:seed=N"
        ),
    ] = ("resnet14", "resnet14", "wrn_16_1")
    teacher_dir: Annotated[str, Flag("where trained teachers are kept and found")] = "teachers"
    teacher_epochs: Annotated[
        int | None, Flag("epochs of teachers trained here", at_least=1, default="as --epochs")
    ] = None
    teacher_nesterov: Annotated[
        bool | None,
        Flag(
            "Nesterov's momentum where there is no teacher to learn from: teachers trained here, scratch",
            default="as --nesterov",
        ),
    ] = None
    teacher_seed: Annotated[
        int,
        Flag("seed of the first teacher of an architecture, +1 for each next", at_least=0, at_most=MAX_SEED),
    ] = 0


@dataclasses.dataclass(frozen=True)
class Student:
    """Student: who learns."""

    student: Annotated[str | nn.Module, Flag("the student's architecture")] = "resnet8"
    seed: Annotated[int, Flag("of initialisation, order and augmentation", at_least=0, at_most=MAX_SEED)] = 0


@dataclasses.dataclass(frozen=True)
class Execution:
    """Execution: where and how it runs, without a bearing on what is learned."""

    workdir: Annotated[
        str | None, Flag("the run's folder", default="runs/DATASET-STUDENT-METHOD-seedN-HASH")
    ] = None
    steps_per_call: Annotated[
        int | None,
        Flag("training steps per compiled call", at_least=1, default="1 on the CPU, else 100"),
    ] = None
    cache_dir: Annotated[
        str | None, Flag("where decoded images and compiled programs are kept", default="~/.cache/jkd")
    ] = None
    checkpoint_every: Annotated[int, Flag("epochs between checkpoints", at_least=1)] = 1
    eval_batch_size: Annotated[int, Flag("images in a batch of evaluation", at_least=1)] = 500
    time_limit: Annotated[
        float | None,
        Flag(
            "seconds after which it stops, saved, with status 0; the next call goes on",
            above=0,
            default="none",
        ),
    ] = None
    again: Annotated[bool, Flag("make a run that other code of jkd made anew, in a folder beside it")] = False


PARTS = {"data": Data, "teachers": Teachers, "student": Student, "recipe": Recipe, "execution": Execution}
"""The parts of the settings by name, in the order of --help."""


def learning_rate(recipe: Recipe, architecture: str) -> float:
    """Returns SGD's rate at the start: as the settings say, else as suits the network."""
    if recipe.learning_rate is not None:
        return recipe.learning_rate
    return SLOW_LEARNING_RATE if architecture.lower().startswith(SLOW_FAMILIES) else LEARNING_RATE


def epochs(recipe: Recipe, data: Data) -> int:
    """Returns the passes over the training images: as the settings say, else as suits the data set."""
    return recipe.epochs or (DIGITS_EPOCHS if data.dataset == "digits" else PAPER_EPOCHS)


def nesterov(recipe: Recipe, spec: Teachers, taught: bool) -> bool:
    """Returns whether the momentum is Nesterov's, for who is taught and for who learns from labels alone."""
    return recipe.nesterov if taught or spec.teacher_nesterov is None else spec.teacher_nesterov


def schedule(rate: float, steps: int) -> optax.Schedule:
    """Returns the learning rate over `steps`: constant, ×0.1 at each of DECAYS."""
    return optax.piecewise_constant_schedule(rate, {round(fraction * steps): 0.1 for fraction in DECAYS})


def time_limit(execution: Execution) -> AbstractContextManager[None]:
    """Stops what is within when --time-limit is over, counted from here.

    Raises:
        UserError: a setting of `execution` is out of range.
        jkd.Interrupted: the time is over.
    """
    return process.time_limit(resolve(Execution, vars(execution))["time_limit"])


def digest(config: dict[str, Any]) -> str:
    """Returns eight hexadecimal digits that stand for a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:8]
