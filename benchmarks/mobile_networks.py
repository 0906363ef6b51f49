"""What a training step of the mobile networks costs beside PyTorch's, in processor time on one core.

    taskset -c 0 python benchmarks/mobile_networks.py --repdistiller=PATH [--mtkd-rl=PATH]

PATHs are checkouts of these repositories, whose networks PyTorch trains: it must be installed, RegNets need
einops. Both train the same network by SGD on the same images, in turns; processor time, because other
programs' disturb it little. `xla` is jkd with XLA's own grouped convolutions, where --xla is given.
"""

import argparse
import contextlib
import importlib.util
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from jkd import models
from jkd.models import layers

FILES = {"MobileNetV2": "mobilenetv2", "ShuffleV1": "ShuffleNetv1", "ShuffleV2": "ShuffleNetv2"}
MAKERS = {"MobileNetV2": "mobile_half"}
RATE = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repdistiller", type=Path, required=True)
    parser.add_argument("--mtkd-rl", type=Path, help="for RegNetX_200MF")
    parser.add_argument("--networks", default=",".join(FILES))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--xla", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)

    print(f"jax {jax.__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}, ", end="")
    print(f"{jax.devices()[0].device_kind}, batch {args.batch_size}, {args.turns} turns\n")
    print("| network | PyTorch s | jkd s | jkd / PyTorch | xla / jkd |\n| --- | --- | --- | --- | --- |")
    images = np.random.default_rng(0).standard_normal((args.batch_size, 32, 32, 3)).astype(np.float32)
    for name in args.networks.split(","):
        steps = {"torch": torch_step(original(name, args), images), "jkd": jax_step(name, images)}
        if args.xla:
            ours, layers.grouped_conv = layers.grouped_conv, jax.lax.conv_general_dilated
            steps["xla"] = jax_step(name, images)
            layers.grouped_conv = ours
        seconds = [{key: timed(step) for key, step in steps.items()} for _ in range(args.turns)]
        ratio = statistics.median(turn["jkd"] / turn["torch"] for turn in seconds)
        xla = f"{statistics.median(turn['xla'] / turn['jkd'] for turn in seconds):.1f}" if args.xla else ""
        both = (statistics.median(turn[key] for turn in seconds) for key in ("torch", "jkd"))
        print(f"| {name} | {' | '.join(f'{s:.3f}' for s in both)} | {ratio:.2f} | {xla} |", flush=True)


def original(name: str, args: argparse.Namespace) -> torch.nn.Module:
    """Returns the published network of that name."""
    root, file = (args.repdistiller, FILES[name]) if name in FILES else (args.mtkd_rl, "regnet")
    spec = importlib.util.spec_from_file_location(file, root / "models" / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with contextlib.redirect_stdout(None):  # one prints its width
        return getattr(module, MAKERS.get(name, name))(num_classes=100)


def torch_step(network: torch.nn.Module, images: np.ndarray) -> Callable[[], object]:
    optimizer = torch.optim.SGD(network.parameters(), RATE)
    x, y = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.arange(len(images)) % 100

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()

    step()
    return step


def jax_step(name: str, images: np.ndarray) -> Callable[[], object]:
    model, labels = models.create(name, 100), jnp.arange(len(images)) % 100
    variables = jax.jit(model.init)(jax.random.key(0, impl="rbg"), images[:1])

    def loss(params, batch_stats, x):
        outputs, updates = model.apply(
            {"params": params, "batch_stats": batch_stats}, x, train=True, mutable=["batch_stats"]
        )
        return optax.softmax_cross_entropy_with_integer_labels(outputs.logits, labels).mean(), updates

    @jax.jit
    def train(variables, x):
        gradient, updates = jax.grad(loss, has_aux=True)(variables["params"], variables["batch_stats"], x)
        return {
            "params": jax.tree.map(lambda p, g: p - RATE * g, variables["params"], gradient),
            **updates,
        }

    def step() -> None:
        nonlocal variables
        variables = jax.block_until_ready(train(variables, x))

    x = jnp.asarray(images)
    step()
    return step


def timed(step: Callable[[], object]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


if __name__ == "__main__":
    main()
