"""What defines a run: settings with their defaults, and the recipe they stand for."""

import dataclasses
from contextlib import AbstractContextManager
from typing import Annotated

from flax import linen as nn

from jkd.data import Data as Arrays
from jkd.data.images import LARGEST_SIZE
from jkd.flags import MAX_SEED, Flag, resolve
from jkd.machine import process
from jkd.teachers.teacher import Teacher

# RepDistiller's recipe, shared by CA-MKD's and MMKD's code: 240 epochs, the rate ×0.1 at 150, 180 and 210.
PAPER_EPOCHS = 240
TEACHERS = ("resnet14", "resnet14", "wrn_16_1")
DIGITS_EPOCHS = 10  # ours: enough for 98 % on the digits, in seconds
DECAYS = (0.625, 0.75, 0.875)
LEARNING_RATE = 0.05
# The same recipe's exception for networks that do not train at 0.05.
SLOW_LEARNING_RATE = 0.01
SLOW_FAMILIES = ("mobilenet", "shuffle")
ADAMW_LEARNING_RATE = 0.001  # Loshchilov & Hutter 2019, "Decoupled weight decay regularization"
SMALLEST_CROP = 0.08  # of Szegedy et al. 2015, "Going deeper with convolutions", section 6


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
    resized_crop: Annotated[
        float | None,
        Flag(
            "in place of that, scale a random part of an image to its size: at least this share of its area "
            f"({SMALLEST_CROP} for ImageNet), 3:4 to 4:3",
            above=0,
            at_most=1,
            default="no",
        ),
    ] = None
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
    optimizer: Annotated[
        str, Flag("SGD, or AdamW; parts on a manifold are SGD's with either", choices=("sgd", "adamw"))
    ] = "sgd"
    learning_rate: Annotated[
        float | None,
        Flag(
            "the rate at its highest",
            above=0,
            default=f"{LEARNING_RATE}; {SLOW_LEARNING_RATE} for mobilenets and shufflenets; "
            f"AdamW {ADAMW_LEARNING_RATE}",
        ),
    ] = None
    schedule: Annotated[
        str,
        Flag(
            "how the rate falls: ×0.1 at each of --decay-at, or along half a cosine to 0",
            choices=("steps", "cosine"),
        ),
    ] = "steps"
    decay_at: Annotated[tuple[float, ...], Flag("where it falls in steps, as fractions of the training")] = (
        DECAYS
    )
    warmup_epochs: Annotated[
        int, Flag("epochs at the start in which the rate rises to its highest, evenly", at_least=0)
    ] = 0
    label_smoothing: Annotated[
        float, Flag("share of a training label that is spread over all classes", at_least=0, below=1)
    ] = 0.0
    momentum: Annotated[float, Flag("SGD's momentum; AdamW's β₁", at_least=0, below=1)] = 0.9
    # As the students of CA-MKD, MMKD and MTKD-RL; the teachers and students of RepDistiller, mdistiller and
    # SimKD, and CA-MKD's teachers, have plain momentum.
    nesterov: Annotated[bool | None, Flag("Nesterov's form of the momentum", default="yes; AdamW no")] = None
    weight_decay: Annotated[
        float, Flag("L2 coefficient, on every parameter; AdamW's is decoupled", at_least=0)
    ] = 5e-4
    dtype: Annotated[
        str, Flag("type the networks compute in; parameters stay float32", choices=("float32", "bfloat16"))
    ] = "float32"


@dataclasses.dataclass(frozen=True)
class Teachers:
    """Teachers: who is listened to."""

    teachers: Annotated[
        tuple[str | Teacher, ...] | None,
        Flag(
            "each ARCH (trained first if not found) or ARCH@PATH, with how it sees images if not as the "
            "student does: ARCH@PATH:mean=R/G/B:std=R/G/B:size=N; poorer ones: ARCH:untrained, "
            "ARCH:wrong-labels=0.4, ARCH:classes=0-6, ARCH:grey, ARCH:resolution=0.25; ARCH:seed=N",
            default=f"{','.join(TEACHERS)}, or those of --teacher-outputs",
        ),
    ] = None
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
    teacher_dtype: Annotated[
        str | None,
        Flag(
            "type that teachers compute in when they teach, whatever they were trained in",
            choices=("float32", "bfloat16"),
            default="as --dtype",
        ),
    ] = None
    teacher_views: Annotated[
        int,
        Flag(
            "fixed augmentations of each image, of which what teachers say is kept: none is asked twice; 0: "
            "always fresh ones",
            at_least=0,
        ),
    ] = 0
    teacher_outputs: Annotated[
        str | None,
        Flag("its folder; without --teachers, all there is of them", default="TEACHER_DIR/outputs/HASH"),
    ] = None
    teacher_outputs_in: Annotated[
        str | None,
        Flag(
            "where a view's outputs are read from in training",
            choices=("device", "host", "file"),
            default="the first of them where they take at most a quarter of the memory",
        ),
    ] = None


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
    stream: Annotated[
        bool | None,
        Flag(
            "read images while training, not all into memory: folder:PATH and tensorflow-datasets",
            default="where they would take over half of the memory; --resized-crop: yes",
        ),
    ] = None
    checkpoint_every: Annotated[int, Flag("epochs between checkpoints", at_least=1)] = 1
    eval_batch_size: Annotated[int, Flag("images in a batch of evaluation", at_least=1)] = 500
    distributed: Annotated[bool, Flag("on all hosts of a cluster; each starts this same command")] = False
    time_limit: Annotated[
        float | None,
        Flag("seconds until it stops, saved, with status 0; the next call goes on", above=0, default="none"),
    ] = None
    again: Annotated[bool, Flag("make a run that other code of jkd made anew, in a folder beside it")] = False
    figures: Annotated[str, Flag("format of pictures beside the page", choices=("png", "svg", "pdf"))] = "png"


PARTS = {"data": Data, "teachers": Teachers, "student": Student, "recipe": Recipe, "execution": Execution}
"""The parts of the settings by name, in the order of --help."""


def time_limit(execution: Execution) -> AbstractContextManager[None]:
    """Stops what is within when --time-limit is over, counted from here.

    Raises:
        UserError: a setting of `execution` is out of range.
        jkd.Interrupted: the time is over.
    """
    return process.time_limit(resolve(Execution, vars(execution))["time_limit"])
