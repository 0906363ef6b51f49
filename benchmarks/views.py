"""What an epoch costs with --teacher-views, after the first, beside one without and beside the student alone.

    python benchmarks/views.py
    python benchmarks/views.py --student=vgg8 --teachers=vgg13,vgg13,vgg13 --methods=aver,camkd,mmkd

All is jkd's own trainer on random images, with teachers' outputs on the device: reading them from a folder,
evaluation and saving are not in the time. The epochs of all methods run in turns, so that what disturbs the
machine disturbs them alike; each ratio is the median of those within a turn.
`step` is without updates of the upper level, `whole` with those that the method's defaults have.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable

import jax
from random_images import training

from jkd import methods


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", default="aver,ebkd,camkd,fitnet,bomd,mmkd")
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--teachers", default="resnet20,resnet20,resnet20")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--steps", type=int, default=10, help="steps of an epoch")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()

    shared = {
        "steps": args.steps,
        "classes": args.classes,
        "batch_size": args.batch_size,
        "image_size": args.image_size,
    }
    runs: dict[str, Callable[[], None]] = {}

    def add(name: str, method: str, **more: bool) -> None:
        runs[name] = training(
            methods.create(method), args.student, args.teachers.split(","), **shared, **more
        )
        runs[name]()  # compiles

    names = args.methods.split(",")
    add("scratch", "scratch")
    for name in names:
        add(f"{name} fresh", name, upper=False)
        add(f"{name} views", name, upper=False, views=True)
        if methods.create(name).upper_level:
            add(f"{name} fresh whole", name)
            add(f"{name} views whole", name, views=True)
    seconds: dict[str, list[float]] = {run: [] for run in runs}
    for _ in range(args.turns):
        for which, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[which].append((time.perf_counter() - start) / args.steps)

    device = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    print(f"`python {' '.join(sys.argv)}`  ")
    print(f"jax {jax.__version__}, Python {platform.python_version()}, {device}, {args.turns} turns\n")
    alone = seconds["scratch"]
    print(f"The student alone: {1000 * statistics.median(alone):.0f} ms a step.\n")
    columns = "fresh / alone", "views / alone", "views / fresh", "whole views / alone", "whole views / fresh"
    print(f"| method | {' | '.join(columns)} |\n|{' --- |' * 6}")
    for name in names:
        fresh, views = seconds[f"{name} fresh"], seconds[f"{name} views"]
        row = [name, ratio(fresh, alone), ratio(views, alone), ratio(views, fresh), "", ""]
        if f"{name} views whole" in seconds:
            whole = seconds[f"{name} views whole"]
            row[4:] = [ratio(whole, alone), ratio(whole, seconds[f"{name} fresh whole"])]
        print(f"| {' | '.join(row)} |")


def ratio(mine: list[float], others: list[float]) -> str:
    """The median of the ratios within a turn."""
    return f"{statistics.median(m / o for m, o in zip(mine, others, strict=True)):.2f}"


if __name__ == "__main__":
    main()
