"""What each export of one student costs: bytes, and the time of a call, beside jkd's own program.

    taskset -c 0 python benchmarks/exports.py --student=vgg8

It needs PyTorch and the extra `onnx`, and runs on one core of a CPU. The student's weights are drawn, not
trained: they bear on neither size nor time. The time is the processor's, of this process alone: what it is
interrupted by does not count. The calls of all run in turns, so that what disturbs the caches disturbs them
alike; each figure is the median over turns, and a ratio is the median of the ratios within a turn. PyTorch
runs the network as one writes it there (`tests/interop/pytorch_networks.py`, or what --torch-class names),
eagerly, from the exported .pth.
"""

import argparse
import importlib
import os
import platform
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import onnxruntime
import torch

from jkd import models
from jkd.data import Data
from jkd.distillation.student import Student
from jkd.run import Contents

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "interop")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", default="vgg8")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--batch-sizes", default="1,64")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--torch-class", help="MODULE:CLASS (on the path) of the network in PyTorch")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if len(os.sched_getaffinity(0)) > 1:
        parser.error("XLA takes all cores that it may run on: start this under taskset -c 0")

    with tempfile.TemporaryDirectory() as folder:
        student, data = untrained(args.student, args.classes, Path(folder))
        files = {
            "StableHLO": "s.stablehlo",
            "ONNX": "s.onnx",
            "ONNX int8": "s.int8.onnx",
            "PyTorch": "s.pth",
            "safetensors": "s.safetensors",
        }
        exported = {
            what: student.export(Path(folder) / file, dataset=data, int8="int8" in file)
            for what, file in files.items()
        }
        sizes = {what: one.path.stat().st_size for what, one in exported.items()}
        runs = programs(student, exported, args)
        calls: dict[str, dict[int, list[float]]] = {what: {} for what in runs}
        for size in map(int, args.batch_sizes.split(",")):
            images = np.random.default_rng(0).standard_normal((size, 32, 32, 3)).astype(np.float32)
            for what, run in runs.items():
                calls[what][size] = []
                run(images)  # compiles
            for _ in range(args.turns):
                for what, run in runs.items():
                    start = time.process_time()
                    for _ in range(repeats := max(1, 16 // size)):
                        run(images)
                    calls[what][size].append((time.process_time() - start) / repeats)
    report(args, exported, sizes, calls)


def untrained(name: str, classes: int, folder: Path) -> tuple[Student, Data]:
    """Returns a student whose weights are drawn, and random images."""
    rng = np.random.default_rng(0)
    network = models.create(name, classes)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:  # maps neither vanish nor explode
        if path[-1].key == "kernel":
            values = rng.standard_normal(leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5
        elif path[-1].key in ("var", "scale"):
            values = rng.uniform(0.5, 1.5, leaf.shape)
        else:
            values = 0.1 * rng.standard_normal(leaf.shape)
        return values.astype(np.float32)

    variables = jax.tree.map_with_path(draw, shapes)
    spec = {"name": "random", "num_classes": classes, "image_size": [32, 32], "classes": None}
    spec |= {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    config = {"student": name, "method": "scratch", "dataset": spec, "recipe": {"dtype": "float32"}}
    pictures = rng.integers(0, 256, (classes, 32, 32, 3), np.uint8)
    labels = np.arange(classes)
    student = Student(network, variables, Contents(config, [], None, folder, []))
    return student, Data(pictures, labels, pictures[:64], labels[:64])


def programs(student: Student, exported: dict, args: argparse.Namespace) -> dict:
    """Returns what computes logits from standardised images, by its name."""
    apply = jax.jit(lambda variables, images: student.model.apply(variables, images, train=False).logits)
    alone = jax.export.deserialize(bytearray(exported["StableHLO"].path.read_bytes()))
    call = jax.jit(alone.call)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {
        what: onnxruntime.InferenceSession(exported[what].path, options, providers=["CPUExecutionProvider"])
        for what in ("ONNX", "ONNX int8")
    }
    network = pytorchs(args).eval()
    network.load_state_dict(torch.load(exported["PyTorch"].path, weights_only=True))

    def eager(images: np.ndarray) -> torch.Tensor:
        with torch.inference_mode():
            return network(torch.from_numpy(images).permute(0, 3, 1, 2))

    ours = np.asarray(apply(student.variables, np.ones((2, 32, 32, 3), np.float32)))
    theirs = eager(np.ones((2, 32, 32, 3), np.float32)).numpy()
    assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(ours).max()
    return {
        "jkd": lambda images: apply(student.variables, images).block_until_ready(),
        "StableHLO": lambda images: call(images).block_until_ready(),
        **{what: partial(_run, session) for what, session in sessions.items()},
        "PyTorch": eager,
    }


def _run(session: onnxruntime.InferenceSession, images: np.ndarray) -> np.ndarray:
    return session.run(["logits"], {"images": images})[0]


def pytorchs(args: argparse.Namespace) -> torch.nn.Module:
    if args.torch_class:
        module, name = args.torch_class.split(":")
        return getattr(importlib.import_module(module), name)(num_classes=args.classes)
    return importlib.import_module("pytorch_networks").NETWORKS[args.student](args.classes)


def report(args: argparse.Namespace, exported: dict, sizes: dict, calls: dict) -> None:
    versions = ", ".join(
        f"{module.__name__} {module.__version__}" for module in (jax, onnxruntime, torch, np)
    )
    print(f"`python {' '.join(sys.argv)}`  ")
    print(f"{versions}, Python {platform.python_version()}, one core of an {processor()}\n")
    batches = list(calls["jkd"])
    heads = [f"batch {size}, ms | / jkd" for size in batches]
    print(f"| {args.student} | kB | {' | '.join(heads)} | largest difference |")
    print("| --- | --- |" + " --- | --- |" * len(batches) + " --- |")
    for what in dict.fromkeys((*calls, *sizes)):
        row = [what, f"{sizes[what] / 1e3:,.0f}" if what in sizes else ""]
        for size in batches:
            if what in calls:
                mine, jkds = calls[what][size], calls["jkd"][size]
                ratio = statistics.median(m / j for m, j in zip(mine, jkds, strict=True))
                row += [f"{1e3 * statistics.median(mine):.2f}", f"{ratio:.2f}"]
            else:
                row += ["", ""]
        row.append(f"{exported[what].difference:.1e}" if what in exported else "")
        print(f"| {' | '.join(row)} |")


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
