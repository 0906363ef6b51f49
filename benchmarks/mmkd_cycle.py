"""Images per second of MMKD: cycles of five training steps and one upper-level update, on random images.

    python benchmarks/mmkd_cycle.py                # jkd alone, on whatever device JAX finds
    python benchmarks/mmkd_cycle.py --torch        # beside a plain PyTorch version, in turns in the same run
    python benchmarks/mmkd_cycle.py --torch --views   # and jkd with what the teachers say of views in memory

Both augment and count metrics; the hard buffer is in the time, reading images from disk and evaluation are
not. The first repeat, which compiles, is left out.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable

EVERY = 5  # training steps per upper-level update, as published


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", default="vgg8")
    parser.add_argument("--teachers", default="vgg13,vgg13,vgg13")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--regressor", default="linear", help="linear or conv")
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16, of jkd's networks")
    parser.add_argument("--cycles", type=int, help="cycles a repeat (default: 1 on the CPU, else 40)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torch", action="store_true", help="time a plain PyTorch version too (VGG only)")
    parser.add_argument("--views", action="store_true", help="time jkd with --teacher-views too")
    return parser.parse_args()


def jkd_cycles(args: argparse.Namespace, views: bool) -> Callable[[], None]:
    """Returns what runs `args.cycles` cycles of jkd's trainer and waits for them; with `views` the teachers
    are not asked."""
    import jax
    from random_images import training

    from jkd import methods

    device = jax.devices()[0]
    args.cycles = args.cycles or (1 if device.platform == "cpu" else 40)
    run = training(
        methods.create(
            "mmkd", regressor=args.regressor, every=EVERY, weight_inputs="raw", teacher_maps="raw"
        ),
        args.student,
        args.teachers.split(","),
        steps=EVERY * args.cycles,
        classes=args.classes,
        batch_size=args.batch_size,
        image_size=args.image_size,
        dtype=args.dtype,
        views=views,
    )
    print(f"jax {jax.__version__} on {device.device_kind}", flush=True)
    return run


def torch_cycles(args: argparse.Namespace) -> Callable[[], None]:
    """Returns what runs `args.cycles` cycles of the plain PyTorch version and waits for them."""
    import torch
    from mmkd_torch import Cycle

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cycle = Cycle(
        device,
        args.student,
        args.teachers.split(","),
        classes=args.classes,
        batch_size=args.batch_size,
        image_size=args.image_size,
        regressor=args.regressor,
    )

    def run() -> None:
        for _ in range(args.cycles):
            for _ in range(EVERY):
                cycle.train()
            cycle.update_weight_networks()
        if device.type == "cuda":
            torch.cuda.synchronize()

    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(f"torch {torch.__version__} on {name}", flush=True)
    return run


def measure(runs: dict[str, Callable[[], None]], images: int, repeats: int) -> None:
    """Runs them in turns and prints images per second, and the ratio of each pair of turns."""
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            if repeat:
                rates[name].append(images / seconds)
                print(f"  {name}: {images / seconds:.1f} images/s", flush=True)
    for name, values in rates.items():
        print(
            f"{name}: median {statistics.median(values):.1f} images/s, "
            f"least {min(values):.1f}, most {max(values):.1f}"
        )
    torch = rates.pop("torch", [])
    for name, values in rates.items() if torch else ():
        ratios = [a / b for a, b in zip(values, torch, strict=True)]
        spread = f"least {min(ratios):.2f}, most {max(ratios):.2f}"
        print(f"{name} / torch: median {statistics.median(ratios):.2f}, {spread}")


def main() -> None:
    args = arguments()
    if args.torch:
        # JAX would take most of a GPU's memory for itself.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    print(f"command: {' '.join(sys.argv)}\npython {platform.python_version()}, {platform.machine()}")
    runs = {"jkd": jkd_cycles(args, views=False)}
    if args.views:
        runs["jkd with views"] = jkd_cycles(args, views=True)
    if args.torch:
        runs["torch"] = torch_cycles(args)
    measure(runs, args.cycles * EVERY * args.batch_size, args.repeats)


if __name__ == "__main__":
    main()
