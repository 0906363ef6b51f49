"""What the steps of several seeds by the same calls cost, as a ratio to those of one seed.

    python benchmarks/seeds.py
    python benchmarks/seeds.py --student=vgg8 --teachers=vgg13,vgg13,vgg13 --seeds=5

The calls of one and of several seeds run in turns, so that what disturbs the machine disturbs them alike; a
ratio is the median of those within a turn. Below the number of seeds, going together pays.
"""

import argparse
import platform
import statistics
import sys
import time

import jax
from random_images import training

from jkd import methods


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", default="aver,bomd,mmkd")
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--teachers", default="resnet20,resnet20,resnet20")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    parser.add_argument("--steps", type=int, default=100, help="steps of a call")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()

    shared = {
        "steps": args.steps,
        "batch_size": args.batch_size,
        "image_size": args.image_size,
        "classes": args.classes,
        "dtype": args.dtype,
    }
    device = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    print(f"`{' '.join(['python', *sys.argv])}`  ")
    print(f"jax {jax.__version__}, Python {platform.python_version()}, {device}\n")
    print(f"| method | one seed, s | {args.seeds} seeds, × one |")
    print("| --- | ---: | ---: |")
    for name in args.methods.split(","):
        parts = [
            training(methods.create(name), args.student, args.teachers.split(","), runs=runs, **shared)
            for runs in (1, args.seeds)
        ]
        for run in parts:
            run()  # compiles
        times = [[_seconds(run) for run in parts] for _ in range(args.turns)]
        ratio = statistics.median(several / one for one, several in times)
        print(f"| {name} | {statistics.median(one for one, _ in times):.3f} | {ratio:.2f} |", flush=True)


def _seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
