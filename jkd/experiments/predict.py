"""`python -m jkd.experiments.predict RUN IMAGE ...` prints classes and probabilities; see --help."""

from pathlib import Path

import numpy as np

from jkd.data.any_size import as_batch
from jkd.data.images import read
from jkd.distillation.student import load
from jkd.errors import UserError
from jkd.experiments import own_code
from jkd.experiments.cli import add_extras, given, guard, program
from jkd.experiments.parser import Parser

_PROG = program("predict")


def run_predict(arguments: list[str] | None = None) -> None:
    """Prints what a student says of images, as the command line says, and exits."""
    guard(_PROG, lambda: _predict(own_code.take(given(arguments))))


def parser() -> Parser:
    """Returns the command line's parser."""
    made = Parser(_PROG, "Say what a student sees on images, of any size and format that Pillow reads.")
    made.add_argument("run", metavar="RUN", help="the run's folder")
    made.add_argument("images", metavar="IMAGE", nargs="+", help="image files")
    made.add_argument_group("Predict").add_argument(
        "--top", metavar="N", type=int, default=5, help="classes to print for each image (default: 5)"
    )
    add_extras(made)
    return made


def _predict(arguments: list[str]) -> None:
    values = parser().parse(arguments)
    if values["top"] < 1:
        raise UserError(f"--top={values['top']}: it must be at least 1")
    student = load(values["run"])
    images = [np.asarray(read(Path(name)).convert("RGB")) for name in values["images"]]
    probabilities = student.predict(
        np.concatenate([as_batch(image[None], student.image_size) for image in images])
    )
    names = student.classes or tuple(f"class {number}" for number in range(probabilities.shape[1]))
    for name, row in zip(values["images"], probabilities, strict=True):
        best = row.argsort()[::-1][: values["top"]]
        print(f"{name}: {', '.join(f'{names[label]} {row[label]:.2%}' for label in best)}")


if __name__ == "__main__":
    run_predict()
