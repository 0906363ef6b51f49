"""What a student can be exported to: how each format is written, and how it is read back."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from jkd.data.augment import standardise
from jkd.errors import UserError
from jkd.interop import onnx, stablehlo, weights
from jkd.interop.checkpoint import load_state_dict
from jkd.interop.program import Program, Run
from jkd.interop.torch import from_state_dict, to_state_dict
from jkd.interop.weights_only import pytorch

if TYPE_CHECKING:
    from jkd.distillation.student import Student

Entries = dict[str, np.ndarray]


class Wish(NamedTuple):
    """How a student is to be exported.

    Attributes:
        preprocess: Whether it takes uint8 images instead of standardised ones.
        batch_size: How many images a call takes; None for any number.
        int8: Whether it is quantised.
        calibration: Training images to quantise with, in the form that the export takes.
    """

    preprocess: bool
    batch_size: int | None
    int8: bool
    calibration: UInt8[np.ndarray, "images h w c"] | Float[np.ndarray, "images h w c"]


class Format(NamedTuple):
    """A format: what its files end in, how it is written and read back, what it needs and can."""

    ending: str
    write: Callable[[Path, "Student", Wish], None]
    read: Callable[[Path, "Student"], Run]
    computes: bool  # whether it holds the computation, not the weights alone
    check: Callable[["Student"], None] = lambda student: None
    beside: tuple[str, ...] = ()  # what is added to the file's name in those of the files that it comes with
    note: str = ""


def _entries(student: "Student") -> Entries:
    """Returns the student's arrays: under PyTorch's names where there is such a class, else their paths."""
    if student.architecture:
        return to_state_dict(student.variables)
    return weights.named(student.variables)


def _of_entries(entries: Entries, student: "Student") -> Run:
    if student.architecture:
        variables: PyTree = from_state_dict(student.architecture, entries)
    else:
        variables = weights.unnamed(entries, student.variables)
    return jax.jit(lambda images: student.model.apply(variables, images, train=False).logits)


def _has_a_class(student: "Student") -> None:
    if not student.architecture:
        raise UserError(
            f"--to=torch: no published PyTorch class computes what the student of {student.folder} does: it "
            "is a network of your own, or its method predicts with more than the network; stablehlo and "
            "onnx hold it whole, safetensors its arrays"
        )
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            "--to=torch needs PyTorch, which is not installed: pip install 'jkd[torch]'; safetensors has the "
            "same entries without it"
        )
    pytorch()


def program(student: "Student", wish: Wish) -> Program:
    """Returns a student as a function of its variables and images."""
    spec = student.config["dataset"]

    def logits(variables: PyTree, images: Array) -> Array:
        if wish.preprocess:
            images = standardise(images, spec["mean"], spec["std"])
        return student.model.apply(variables, images, train=False).logits

    dtype: Any = np.uint8 if wish.preprocess else np.float32
    return Program(logits, student.variables, (*student.image_size, 3), dtype, wish.batch_size)


def _write_stablehlo(path: Path, student: "Student", wish: Wish) -> None:
    stablehlo.save(path, program(student, wish))
    weights.save_safetensors(path.with_name(path.name + _WEIGHTS), _entries(student))


def _write_onnx(path: Path, student: "Student", wish: Wish) -> None:
    onnx.save(path, program(student, wish))
    if wish.int8:
        onnx.quantise(path, wish.calibration)


_WEIGHTS = ".safetensors"
FORMATS = {
    "safetensors": Format(
        ".safetensors",
        lambda path, student, wish: weights.save_safetensors(path, _entries(student)),
        lambda path, student: _of_entries(load_state_dict(path), student),
        computes=False,
    ),
    "torch": Format(
        ".pth",
        lambda path, student, wish: weights.save_torch(path, _entries(student)),
        lambda path, student: _of_entries(load_state_dict(path), student),
        computes=False,
        check=_has_a_class,
    ),
    "stablehlo": Format(
        ".stablehlo",
        _write_stablehlo,
        lambda path, student: stablehlo.load(path),
        computes=True,
        beside=(_WEIGHTS,),
        note="jax promises to read it for six months, no longer: the weights lie beside it",
    ),
    "onnx": Format(
        ".onnx",
        _write_onnx,
        lambda path, student: onnx.load(path),
        computes=True,
        check=lambda student: onnx.need(),
    ),
}
