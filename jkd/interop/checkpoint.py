"""State dicts from files."""

from os import PathLike
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jkd.errors import UserError
from jkd.interop import weights_only
from jkd.machine import archive

_TENSORFLOW = (
    "import numpy, tensorflow; r = tensorflow.train.load_checkpoint('{prefix}'); "
    "numpy.savez('{npz}', **{{name: r.get_tensor(name) for name in r.get_variable_to_shape_map()}})"
)
_HDF5 = (
    "import h5py, numpy; found = {{}}; h5py.File('{path}').visititems(lambda name, value: "
    "found.update({{name: value[()]}}) if hasattr(value, 'dtype') else None); numpy.savez('{npz}', **found)"
)
# What makes an .npz of the arrays in a file of another format.
_CONVERSIONS = {
    ".ckpt": _TENSORFLOW,
    ".index": _TENSORFLOW,
    ".data": _TENSORFLOW,
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".keras": (
        "import keras, numpy; numpy.savez('{npz}', **{{one.path: numpy.asarray(one) "
        "for one in keras.saving.load_model('{path}').weights}})"
    ),
    ".onnx": (
        "import numpy, onnx; numpy.savez('{npz}', **{{one.name: onnx.numpy_helper.to_array(one) "
        "for one in onnx.load('{path}').graph.initializer}})"
    ),
}
_PACKED = (".tar", ".tgz", ".gz", ".zip", ".7z", ".bz2", ".xz")


def load_state_dict(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a state dict from an `.npz`, a `.safetensors` or a file of PyTorch's (`.pth`, `.pt`).

    Raises:
        UserError: as `check` does, or the file cannot be read, carries code, or holds no state dict.
    """
    path = Path(path)
    check(path)
    if path.suffix not in (".npz", ".safetensors"):
        return weights_only.read(path)
    try:
        return archive.read(path) if path.suffix == ".npz" else load_file(path)
    except (KeyError, AttributeError) as error:  # safetensors looks the type up among numpy's
        raise UserError(f"the state dict '{path}' has a type that numpy has not: {error}") from error
    except (OSError, archive.Unreadable, SafetensorError) as error:
        raise UserError(f"cannot read the state dict '{path}': {error}") from error


def check(path: Path) -> None:
    """Checks what can be checked of a file of weights without reading it whole.

    Raises:
        UserError: there is no such file, it is of a format that is not read (with the line that converts it),
            or reading it needs PyTorch and that is missing or unsafe.
    """
    if not path.is_file():
        raise UserError(f"there is no file '{path}'; give a .pth, .pt, .safetensors or .npz file")
    if path.suffix in (".npz", ".safetensors"):
        return
    suffix = ".data" if path.suffix.startswith(".data-") else path.suffix
    pytorchs = weights_only.is_pytorchs(path)
    if suffix in _CONVERSIONS and not (suffix == ".ckpt" and pytorchs):
        npz = path.with_suffix(".npz")
        prefix = path.with_suffix("") if suffix in (".index", ".data") else path
        line = _CONVERSIONS[suffix].format(path=path, prefix=prefix, npz=npz)
        raise UserError(
            f"'{path}' is of a format that is not read; this makes an .npz of its arrays, which must have "
            f'the names and axes of PyTorch\'s: python -c "{line}"'
        )
    if pytorchs and suffix != ".zip":
        weights_only.pytorch()
    elif suffix in _PACKED:
        raise UserError(
            f"'{path}' is packed: unpack it, or, if a PyTorch before 0.1.10 made it and you trust it, "
            'python -c "import torch; '
            f"torch.save(torch.load('{path}', weights_only=False), '{path}.pth')\""
        )
    else:
        raise UserError(
            f"'{path}' is no checkpoint: it does not begin as a zip archive or a pickle does; "
            "give a .pth, .pt, .safetensors or .npz file"
        )
