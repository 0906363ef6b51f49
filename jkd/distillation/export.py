"""A student in a file that other programs run: written, reopened and compared before it gets its name."""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from jkd import data
from jkd.data import Data
from jkd.data.any_size import as_batch
from jkd.distillation.formats import FORMATS, Format, Wish
from jkd.distillation.reopened import as_taken, compared, logits_of
from jkd.errors import UserError
from jkd.flags import Flag
from jkd.machine.files import InUse, lock
from jkd.provenance import session

if TYPE_CHECKING:
    from jkd.distillation.student import Student

TOLERANCE = 1e-4
"""How far logits may be from jkd's, as a fraction of the largest."""
_CALIBRATION = 250  # training images that quantisation sees

Images = UInt8[np.ndarray, "images h w c"]
Labels = Int[np.ndarray, " images"]


@dataclasses.dataclass(frozen=True)
class Export:
    """Export: what is written, and where."""

    to: Annotated[
        str | None, Flag("the format", choices=tuple(FORMATS), default="as --output's ending says")
    ] = None
    output: Annotated[str | None, Flag("the file", default="RUN/export/student.ENDING")] = None
    preprocess: Annotated[
        bool, Flag("let it take images as they are, uint8 from 0 to 255, not standardised ones")
    ] = False
    batch_size: Annotated[int | None, Flag("images in each call", at_least=1, default="any number")] = None
    int8: Annotated[bool, Flag("quantise to int8 (onnx), calibrated on training images")] = False
    overwrite: Annotated[bool, Flag("replace a file that is there")] = False
    dataset: Annotated[
        str | Data | None, Flag("whose test images to compare on, as in training", default="the run's own")
    ] = None
    data_dir: Annotated[
        str | None, Flag("where tensorflow-datasets keeps its data", default="its own default")
    ] = None
    cache_dir: Annotated[str | None, Flag("where decoded images are kept", default="~/.cache/jkd")] = None
    images: Annotated[int, Flag("test images to compare on at most, evenly drawn", at_least=1)] = 10_000


class Exported(NamedTuple):
    """What was written, and how it compares with the student on test images.

    Attributes:
        path: The file.
        note: What is to be known of its format, or nothing.
        images: On how many images it was compared.
        difference: The greatest difference of a logit, as a fraction of the largest logit.
        agreement: The fraction of images that get the same class.
        top1: Its accuracy on them.
        student_top1: The student's own, computed by jkd in float32.
    """

    path: Path
    note: str
    images: int
    difference: float
    agreement: float
    top1: float
    student_top1: float

    def __str__(self) -> str:
        """Says it in a line."""
        return (
            f"{self.path} ({self.path.stat().st_size:,} bytes), reopened, on {self.images:,} test images: "
            f"top-1 {self.top1:.2%} (the student {self.student_top1:.2%}), the same class for "
            f"{self.agreement:.2%}, logits within {self.difference:.1e} of the largest"
            + (f"; {self.note}" if self.note else "")
        )


def export(student: "Student", settings: Export) -> Exported:
    """Writes a student to a file, which appears under its name when it has been reopened and compared.

    Beside it lies a JSON file that says what it takes and gives, and how it compared.

    Args:
        student: The student, computing in float32.
        settings: What is written, and where.

    Raises:
        UserError: the format is unknown, cannot hold this student or needs a package that is not there; the
            file is there already; there are no test images; or what was written differs from the student.
    """
    name, path = _destination(student, settings)
    form = FORMATS[name]
    _check_wishes(name, form, settings)
    form.check(student)
    card, *beside = (path.with_name(path.name + added) for added in (".json", *form.beside))
    files = (*beside, card, path)  # the file that was asked for last: where it is, all is
    _keep_what_is_there(files, settings)
    images, labels, calibration = _images(student, settings)
    seen = as_taken(calibration, student, settings.preprocess)
    wish = Wish(settings.preprocess, settings.batch_size, settings.int8, seen)
    reference = student.logits(images)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _scratch(path) as folder:
            made = folder / path.name
            form.write(made, student, wish)
            logits = logits_of(form.read(made, student), student, wish, images)
            found = compared(logits, reference, labels)
            if not found["difference"] <= (np.finfo(np.float32).max if settings.int8 else TOLERANCE):
                raise UserError(
                    f"{path} was not made: reopened, its logits differ from the student's by "
                    f"{found['difference']:.1e} of the largest, more than {TOLERANCE:g}"
                )
            told = _card(student, wish, name) | {"compared": found}
            (folder / card.name).write_text(json.dumps(told, indent=2) + "\n")
            _keep_what_is_there(files, settings)
            for file in files:
                os.replace(folder / file.name, file)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"--output={path}: it cannot be written there ({error.strerror})") from error
    return Exported(path, form.note, **found)


@contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """Makes a hidden folder beside a file, to make that in; what a killed process left there is dropped."""
    folder = path.with_name(f".export-{path.name}")
    folder.mkdir(exist_ok=True)
    try:
        held = lock(folder)
    except InUse:
        raise UserError(f"--output={path}: another process is writing it") from None
    try:
        for left in folder.iterdir():
            if left.name != "lock":
                left.unlink()
        yield folder
    finally:
        shutil.rmtree(folder)
        os.close(held)


def _destination(student: "Student", settings: Export) -> tuple[str, Path]:
    """Returns the format and the file."""
    if settings.output is None:
        if settings.to is None:
            raise UserError(f"--to says the format: one of {', '.join(FORMATS)}")
        kind = ".int8" if settings.int8 else ""
        return settings.to, student.folder / "export" / f"student{kind}{FORMATS[settings.to].ending}"
    path = Path(settings.output).expanduser()
    endings = {name: form.ending for name, form in FORMATS.items()}
    if settings.to is None:
        named = [name for name, ending in endings.items() if path.suffix == ending]
        if not named:
            known = ", ".join(f"{ending} ({name})" for name, ending in endings.items())
            raise UserError(f"--output={path}: its ending names no format; give --to, or one of {known}")
        return named[0], path
    if path.suffix != endings[settings.to]:
        raise UserError(f"--output={path}: a file of --to={settings.to} ends in {endings[settings.to]}")
    return settings.to, path


def _check_wishes(name: str, form: Format, settings: Export) -> None:
    if settings.int8 and name != "onnx":
        raise UserError(f"--int8 with --to={name}: it is for onnx")
    if form.computes:
        return
    for flag, wished in (("preprocess", settings.preprocess), ("batch-size", settings.batch_size)):
        if wished:
            raise UserError(
                f"--{flag} with --to={name}: that holds weights, not what is computed with them; "
                "stablehlo and onnx do"
            )


def _keep_what_is_there(paths: tuple[Path, ...], settings: Export) -> None:
    for path in paths:
        if path.is_dir():
            raise UserError(f"--output={path} is a folder; give a file's name")
        if path.exists() and not settings.overwrite:
            raise UserError(f"{path} is there already: --overwrite replaces it, --output names another")


def _images(student: "Student", settings: Export) -> tuple[Images, Labels, Images]:
    """Returns test images in the student's size, their labels, and training images to quantise with."""
    config = student.config["dataset"]
    spec = settings.dataset or (student.summary or {}).get("dataset", config["name"])
    height, width = student.image_size
    try:
        found = data.load(spec, settings.data_dir, height if height == width else None, settings.cache_dir)
    except UserError as error:
        if settings.dataset is not None:
            raise
        raise UserError(
            f"there are no test images to compare on ({error}); name the run's data set with --dataset"
        ) from None
    if found.num_classes != config["num_classes"]:
        raise UserError(
            f"--dataset: {found.name} has {found.num_classes} classes, the student {config['num_classes']}"
        )
    test = _evenly(len(found.test_images), settings.images)
    train = _evenly(len(found.train_images), _CALIBRATION)
    size = student.image_size
    tested, trained = (as_batch(found.test_images[test], size), as_batch(found.train_images[train], size))
    return tested, found.test_labels[test], trained


def _evenly(count: int, most: int) -> Int[np.ndarray, " chosen"]:
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def _card(student: "Student", wish: Wish, name: str) -> dict[str, Any]:
    """Returns what somebody must know who uses the file without jkd."""
    spec, config = student.config["dataset"], student.config
    height, width = student.image_size
    takes = "uint8 from 0 to 255" if wish.preprocess else "float32, (image / 255 - mean) / std by channel"
    return {
        "format": name,
        "student": config["student"],
        "method": config["method"],
        "run": str(student.folder.resolve()),
        "finished": student.summary is not None,
        "images": f"[{wish.batch_size or 'any number'}, {height}, {width}, 3], RGB, {takes}",
        "mean": spec["mean"],
        "std": spec["std"],
        "gives": f"logits, float32 [batch, {spec['num_classes']}]",
        "classes": spec.get("classes"),
        "made_by": session(),
    }
