"""Checkpoints that are hostile or broken, each in its own way, and words of the line that each earns.

Those that carry code would leave a file "it-ran" in the working folder.
"""

import io
import os
import pickle
import tarfile
import zipfile

import jax
import numpy as np
import torch
from bad_files import weights

from jkd import models
from jkd.interop.torch import to_state_dict

FIRST = "layer1.0.conv1.weight"


class Code:
    """What a hostile pickle holds: unpickled, it runs a command."""

    def __reduce__(self):
        return os.system, ("touch it-ran",)


def tensors(**changes):
    """A PyTorch state dict of resnet8 for the digits, with some entries changed or, as None, left out."""
    entries = {name: torch.tensor(array) for name, array in weights().items()}
    entries |= {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in entries.items() if value is not None}


def of(name, classes=10):
    """A state dict of another network."""
    network = models.create(name, classes)
    shapes = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 16, 16, 3)))
    arrays = to_state_dict(jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes))
    return {name: torch.tensor(array) for name, array in arrays.items()}


def saved(content, old=False):
    """The bytes of a file of PyTorch's; in the format before its 1.6, if old."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def zipped(pickled, method=zipfile.ZIP_STORED, **more):
    """The bytes of a zip archive as PyTorch writes it, with any pickle: made without PyTorch."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in (
            {"data.pkl": pickled, "byteorder": b"little", "version": b"3\n"} | more
        ).items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def halved_storage():
    """A file in which the largest tensor has half the bytes that it should."""
    whole, file = zipfile.ZipFile(io.BytesIO(saved(tensors()))), io.BytesIO()
    largest = max(whole.infolist(), key=lambda info: info.file_size).filename
    with zipfile.ZipFile(file, "w") as archive:
        for name in whole.namelist():
            content = whole.read(name)
            archive.writestr(name, content[: len(content) // 2] if name == largest else content)
    return file.getvalue()


def program():
    """A TorchScript archive."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    return file.getvalue()


def tarred():
    """A tar archive, as PyTorch's first files were."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    return file.getvalue()


def optimizers_state():
    weight = torch.nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.ones(2, 2)
    optimizer = torch.optim.SGD([weight], 0.1, momentum=0.9)
    optimizer.step()
    return optimizer.state_dict()


def npz_bytes():
    file = io.BytesIO()
    np.savez(file, **weights())
    return file.getvalue()


def quantised():
    return torch.quantize_per_tensor(torch.ones(10), 0.1, 0, torch.qint8)


GOOD = saved(tensors())
DEEP = b"\x80\x02" + b"}X\x05\x00\x00\x00model" * 100_000 + b"}" + b"s" * 100_000 + b"."
WITH_CODE = "it carries code (posix.system), which is not run"
ROWS = [
    ("empty.pth", lambda: b"", "no checkpoint"),
    ("text.pth", lambda: b"weights", "no checkpoint"),
    ("zeros.pth", lambda: bytes(1000), "no checkpoint"),
    ("short.pth", lambda: GOOD[: len(GOOD) // 2], "cannot read the checkpoint"),
    ("a_byte_short.pth", lambda: GOOD[:-1], "cannot read the checkpoint"),
    (
        "old_short.pth",
        lambda: saved(tensors(), old=True)[:-50],
        "cannot read the checkpoint",
        "unexpected EOF",
    ),
    ("no_pickle.pth", lambda: zipped(b""), "cannot read the checkpoint"),
    ("no_zip.pth", lambda: b"PK\x03\x04 weights", "not a zip file"),
    ("long_string.pth", lambda: zipped(b"\x80\x02X\xff\xff\xff\x7f."), "cannot read the checkpoint"),
    ("half_a_tensor.pth", lambda: halved_storage(), "cannot read the checkpoint"),
    (
        "bomb.pth",
        lambda: zipped(pickle.dumps("x" * 10**7, 2), zipfile.ZIP_DEFLATED),
        "its parts are to hold 10,",
    ),
    ("code.pth", lambda: zipped(pickle.dumps(Code(), 2)), WITH_CODE, "torch.save(model.state_dict()"),
    ("code_beside_weights.pt", lambda: saved({"model": tensors(), "opt": Code()}), WITH_CODE),
    ("old_code.pth", lambda: saved({"model": tensors(), "opt": Code()}, old=True), WITH_CODE),
    ("plain_code.pth", lambda: pickle.dumps(Code(), 2), WITH_CODE),
    ("newer_code.pth", lambda: zipped(pickle.dumps(Code(), 5)), "cannot read the checkpoint"),
    (
        "eval.pth",
        lambda: zipped(b"\x80\x02cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R."),
        "it carries code (eval)",
    ),
    ("load.pth", lambda: zipped(b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00a\x85R."), "code (torch.load)"),
    ("module.pth", lambda: saved(torch.nn.Linear(2, 2)), "it carries code (torch.nn.modules.linear.Linear)"),
    ("script.pt", lambda: program(), "program (TorchScript)", ".state_dict(), 'script_weights.pth')"),
    ("tar.pth.tar", lambda: tarred(), "is packed"),
    ("numpys.pth", lambda: npz_bytes(), "is an archive of numpy's: mv numpys.pth numpys.npz"),
    ("deep.pth", lambda: zipped(DEEP), "holds no state dict ('model')"),
    ("nested.pth", lambda: saved({"a": {"b": {"c": tensors()}}}), "holds no state dict ('a')"),
    ("list.pth", lambda: saved([1, 2]), "holds no state dict (a list)"),
    ("tensor.pth", lambda: saved(tensors()[FIRST]), "holds no state dict (a Tensor)"),
    ("nothing.pth", lambda: saved({}), "holds no state dict (nothing)"),
    ("optimizer.pth", lambda: saved(optimizers_state()), "holds no state dict ('state', 'param_groups')"),
    ("two.pth", lambda: saved({"a": tensors(), "b": tensors()}), "several state dicts ('a', 'b'); save one"),
    (
        "sparse.pth",
        lambda: saved(tensors(fc__weight=tensors()["fc.weight"].to_sparse())),
        "fc.weight is no plain",
    ),
    (
        "no_values.pth",
        lambda: saved(tensors(fc__bias=torch.empty(10, device="meta"))),
        "fc.bias is no plain",
        "meta",
    ),
    (
        "eight_bits.pth",
        lambda: saved(tensors(fc__bias=torch.ones(10).to(torch.float8_e4m3fn))),
        "Float8_e4m3fn",
    ),
    ("quantised.pth", lambda: saved(tensors(fc__bias=quantised())), "fc.bias is no plain tensor", "QInt8"),
    (
        "integers.pth",
        lambda: saved(tensors(fc__bias=torch.ones(10, dtype=torch.int32))),
        "fc.bias int32, should be",
    ),
    (
        "complex.pth",
        lambda: saved(tensors(fc__bias=torch.ones(10) * 1j)),
        "fc.bias complex64, should be float16",
    ),
    (
        "nan.pth",
        lambda: saved(tensors(fc__bias=torch.full((10,), torch.nan))),
        "10 of 10 values that are not finite",
    ),
    ("variance.pth", lambda: saved(tensors(bn1__running_var=-torch.ones(16))), "a variance of -1"),
    (
        "endless.pth",
        lambda: saved(tensors(fc__weight=torch.ones(1).expand(10**9, 64))),
        "fc.weight is no plain tensor (it shows the same memory",
    ),
    (
        "missing.pth",
        lambda: saved(tensors(fc__bias=None)),
        "not a state dict of resnet8: 1 missing (fc.bias)",
    ),
    ("unexpected.pth", lambda: saved(tensors(fc2__bias=torch.ones(10))), "1 unexpected (fc2.bias)"),
    ("twice.pth", lambda: saved(tensors(module__fc__bias=torch.ones(10))), "two entries for fc.bias"),
    ("lines.pth", lambda: saved(tensors(**{"a\nb\x1b": torch.ones(2)})), r"1 unexpected ('a\nb\x1b')"),
    ("classes.pth", lambda: saved(of("resnet8", 7)), "knows 7 classes, the data set has 10"),
    ("deeper.pth", lambda: saved(of("resnet14")), "not a state dict of resnet8 but of resnet14"),
    (
        "wider.pth",
        lambda: saved({"state_dict": of("resnet8x4")}),
        "not a state dict of resnet8 but of resnet8x4",
    ),
]
