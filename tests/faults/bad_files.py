"""Files that are wrong, each in its own way: written to a folder for the table of bad inputs."""

import io
import os
import struct
import zipfile
from functools import cache

import jax
import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from jkd import models
from jkd.interop.torch import to_state_dict

random = np.random.default_rng(0)
GOOD = {
    "x_train": random.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8),
    "y_train": np.arange(12) % 3,
    "x_test": random.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8),
    "y_test": np.arange(6) % 3,
}


@cache
def weights():
    """A state dict of resnet8 for the ten classes of the digits."""
    model = models.create("resnet8", 10)
    variables = jax.jit(model.init)(jax.random.key(0, impl="rbg"), np.zeros((1, 16, 16, 3), np.float32))
    return dict(to_state_dict(variables))


def npz(path, **changes):
    np.savez(path, **{name: array for name, array in (GOOD | changes).items() if array is not None})


def changed(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


def repacked(path, *, method=zipfile.ZIP_STORED, replace=lambda name, content: content):
    """Writes the good arrays as a zip file of another kind."""
    npz(path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, replace(name, content))


def patched(path, field, value):
    """Sets a 16-bit field in every local and central header of a zip file: 6 is the flags, 8 the method."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", field), (b"PK\x01\x02", field + 2)):
        at = content.find(signature)
        while at >= 0:
            struct.pack_into("<H", content, at + offset, value)
            at = content.find(signature, at + 4)
    path.write_bytes(content)


def claims(path, shape):
    def replace(name, content):
        if name != "x_train.npy":
            return content
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        return file.getvalue() + bytes(100)

    repacked(path, replace=replace)


def images(folder, spoil):
    """Two classes of images, one of which is spoilt."""
    for part in ("train", "test"):
        for name in ("ant", "bee"):
            (folder / part / name).mkdir(parents=True)
            for index in range(2):
                Image.fromarray(GOOD["x_train"][index]).save(folder / part / name / f"{index}.png")
    spoil(folder / "train" / "ant" / "spoilt.png")


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


ARRAY_FAULTS = {
    "missing": lambda array: None,
    "floats": lambda array: array / 255,
    "complex": lambda array: array * 1j,
    "strings": lambda array: array.astype(str),
    "dates": lambda array: array.astype("datetime64[s]"),
    "a scalar": lambda array: array[(0,) * array.ndim],
    "one short": lambda array: array[:-1],
    "another axis": lambda array: array[..., None, None],
}
ENTRIES = ("conv1.weight", "bn1.weight", "bn1.running_mean", "layer3.0.conv2.weight", "fc.bias")
ENTRY_FAULTS = {
    "not a number": lambda array: np.full_like(array, np.nan),
    "infinite": lambda array: changed(array, (0,) * array.ndim, -np.inf),
    "transposed": lambda array: array[None],
    "truth values": lambda array: array > 0,
}
FORMATS = ("BMP", "JPEG", "PPM", "TIFF", "WEBP", "JPEG2000")


def write_all(folder):
    """Writes every wrong file."""
    npz(folder / "label.npz", y_train=changed(GOOD["y_train"], 3, 10**9))
    npz(folder / "label_test.npz", y_test=changed(GOOD["y_test"], 3, 10**9))
    npz(folder / "label_64.npz", y_train=changed(GOOD["y_train"].astype(np.uint64), 3, 2**64 - 1))
    npz(folder / "floats.npz", x_train=GOOD["x_train"] / 255)
    npz(folder / "bools.npz", y_train=GOOD["y_train"] > 0)
    npz(folder / "strings.npz", y_train=GOOD["y_train"].astype(str))
    npz(folder / "objects.npz", y_train=np.array([{}] * 12))
    npz(folder / "none.npz", x_train=GOOD["x_train"][:0], y_train=GOOD["y_train"][:0])
    npz(folder / "flat.npz", x_train=GOOD["x_train"].reshape(12, -1))
    npz(folder / "no_pixels.npz", x_train=GOOD["x_train"][:, :0])
    npz(folder / "missing.npz", y_test=None)
    npz(folder / "good.npz")
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.npz").write_text("x_train")
    np.save(folder / "single.npy", GOOD["x_train"])
    os.rename(folder / "single.npy", folder / "single.npz")
    npz(folder / "cut.npz")
    cut(folder / "cut.npz", 1000)
    claims(folder / "60_gb.npz", (12, 40_000, 40_000, 3))
    claims(folder / "negative.npz", (12, -8, 8, 3))
    claims(folder / "overflow.npz", (2**40, 2**40))
    npz(folder / "encrypted.npz")
    patched(folder / "encrypted.npz", 6, 1)
    npz(folder / "method.npz")
    patched(folder / "method.npz", 8, 99)
    for method in ("deflated", "bzip2", "lzma"):
        path = folder / f"{method}.npz"
        repacked(path, method=getattr(zipfile, f"ZIP_{method.upper()}"))
        content = bytearray(path.read_bytes())
        content[200:260] = b"\xff" * 60
        path.write_bytes(content)
    repacked(folder / "no_arrays.npz", replace=lambda name, content: b"nothing")
    os.mkfifo(folder / "pipe.npz")
    (folder / "folder.npz").mkdir()

    images(folder / "pipe", os.mkfifo)
    images(folder / "eps", lambda path: Image.fromarray(GOOD["x_train"][0]).save(path, "EPS"))
    images(folder / "nothing", lambda path: path.write_bytes(b""))
    images(folder / "words", lambda path: path.write_text("an image"))
    images(folder / "subfolder", lambda path: path.mkdir())
    images(folder / "link", lambda path: path.symlink_to("nowhere"))
    images(folder / "larger", lambda path: Image.new("RGB", (9, 8)).save(path))
    images(folder / "deep", lambda path: Image.new("I;16", (8, 8)).save(path))
    images(folder / "short", lambda path: (Image.fromarray(GOOD["x_train"][0]).save(path), cut(path, 120)))
    images(folder / "good", lambda path: None)
    (folder / "gap" / "train" / "ant").mkdir(parents=True)

    first = "layer1.0.conv1.weight"
    state_dicts = {
        "strings": {first: weights()[first].astype(str)},
        "complex": {first: weights()[first].astype(np.complex64)},
        "integers": {first: weights()[first].astype(np.int8)},
        "nan": {first: changed(weights()[first], (0, 0, 0, 0), np.nan)},
        "infinite": {first: weights()[first].astype(np.float64) * 1e300},
        "variance": {"bn1.running_var": changed(weights()["bn1.running_var"], 2, -0.5)},
        "shape": {first: weights()[first][..., :1]},
        "more": {"layer9.weight": weights()[first]},
        "classes": {"fc.weight": weights()["fc.weight"][:7], "fc.bias": weights()["fc.bias"][:7]},
    }
    for name, change in state_dicts.items():
        np.savez(folder / f"{name}_weights.npz", **(weights() | change))
    for name in GOOD:
        for fault, spoil in ARRAY_FAULTS.items():
            npz(folder / f"{name} {fault}.npz".replace(" ", "_"), **{name: spoil(GOOD[name])})
    for name in ENTRIES:
        for fault, spoil in ENTRY_FAULTS.items():
            path = folder / f"{name} {fault}.npz".replace(" ", "_")
            np.savez(path, **(weights() | {name: spoil(weights()[name])}))
    for form in FORMATS:
        whole = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))

        def spoil(path, whole=whole, form=form):
            whole.save(path, form)
            cut(path, path.stat().st_size // 2)

        images(folder / form, spoil)
    np.savez(folder / "good_weights.npz", **weights())
    np.savez(folder / "no_weights.npz")
    eight_bits = weights() | {first: weights()[first].astype(np.int8)}
    save_file(eight_bits, folder / "eight.safetensors")
    content = (folder / "eight.safetensors").read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header = content[8 : 8 + size].replace(b'"I8"', b'"F8_E4M3"').rstrip()
    (folder / "eight.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + content[8 + size :])
    (folder / "header.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    (folder / "text.safetensors").write_text("weights")
    for name in (
        "weights.pth",
        "weights.ckpt",
        "model.ckpt.index",
        "weights.h5",
        "weights.onnx",
        "weights.tar",
    ):
        (folder / name).write_bytes(b"")
    (folder / "weights.zip").write_bytes((folder / "good_weights.npz").read_bytes())
    (folder / "weights.keras").write_bytes((folder / "good_weights.npz").read_bytes())
    os.mkfifo(folder / "pipe.safetensors")
