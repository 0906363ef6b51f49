"""ONNX files by jax2onnx, the maintained converter, run and quantised by ONNX Runtime.

Both are the extra `jkd[onnx]`.
"""

import importlib
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jax import export

from jkd.errors import UserError
from jkd.interop.program import Program, Run

OPSET = 21  # of March 2024: what runs on devices is not always new
_INPUT, _OUTPUT = "images", "logits"
_CALIBRATED = 50  # images in a call of calibration


def need() -> None:
    """Raises UserError where what this needs is not installed."""
    for name in ("jax2onnx", "onnx", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"--to=onnx needs {name}, which is not installed: pip install 'jkd[onnx]' (jax2onnx may put "
                "an older orbax-checkpoint in the place of yours: try it in an environment of its own)"
            )


def save(path: Path, program: Program) -> None:
    """Writes a program, its variables in it as constants; the input is `images`, the output `logits`.

    Raises:
        UserError: the network computes something that has no ONNX, or does not take batches of any size.
    """
    batch: Any = program.batch_size
    if batch is None:
        (batch,) = export.symbolic_shape("batch")
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of what has no bearing on the file
    try:
        model = importlib.import_module("jax2onnx").to_onnx(
            program.of_images,
            [program.signature(batch)],
            model_name="student",
            opset=OPSET,
            input_names=[_INPUT],
            output_names=[_OUTPUT],
        )
    except Exception as error:  # of many kinds, wherever a network does what the converter does not know
        told = " ".join(str(error).split())[:200]
        fixed = "" if program.batch_size else "; --batch-size=N may help"
        raise UserError(
            f"jax2onnx cannot convert the network ({type(error).__name__}: {told}){fixed}"
        ) from error
    # The converter moves transpositions and leaves behind the shapes that maps had before (0.17).
    del model.graph.value_info[:]
    onnx = importlib.import_module("onnx")
    onnx.save(onnx.shape_inference.infer_shapes(model), path)


def load(path: Path) -> Run:
    """Reads what `save` or `quantise` wrote, to be run on the CPU."""
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run([_OUTPUT], {_INPUT: images})[0]


def quantise(path: Path, images: np.ndarray) -> None:
    """Makes the program in a file one that computes in int8 where ONNX Runtime can, weights and maps.

    Weights are scaled by output channel; the scale of a map is that of its extremes on the images given.

    Args:
        path: A file that `save` wrote.
        images: Real images, in the form that the program takes.
    """
    quantization = importlib.import_module("onnxruntime.quantization")
    prepared = path.with_name(f"{path.name}.prepared")
    # Batch norms become part of the convolutions before them.
    importlib.import_module("onnxruntime.quantization.shape_inference").quant_pre_process(
        path, prepared, skip_symbolic_shape=True
    )

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            fixed = importlib.import_module("onnxruntime").InferenceSession(
                prepared, providers=["CPUExecutionProvider"]
            )
            size = fixed.get_inputs()[0].shape[0]
            self.batches = _batches(images, size if isinstance(size, int) else _CALIBRATED)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {_INPUT: batch}

    quantization.quantize_static(
        prepared,
        path,
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    prepared.unlink()


def _batches(images: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, max(len(images) // size, 1) * size, size):
        yield images[np.arange(start, start + size) % len(images)]
