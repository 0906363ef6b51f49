"""What a training step of each method costs, on random images, as a ratio to a plain distillation step.

    python benchmarks/step.py
    python benchmarks/step.py --methods=aver,bomd --student=vgg8 --teachers=vgg13,vgg13,vgg13

The programs of all methods run in turns, so that what disturbs the machine disturbs them alike; each figure
is the median over turns, and a ratio is the median of the ratios within a turn. A plain step is one of `aver`
(or of the first method). For a method with an upper level, `upper` is what one update of it costs in plain
steps, and `whole` a step of the method with its updates counted in, both as its defaults have them.
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
    parser.add_argument("--methods", default=",".join(sorted(methods.METHODS)))
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--teachers", default="resnet20,resnet20,resnet20")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--dtype", default="float32", help="float32 or bfloat16")
    parser.add_argument("--cycles", type=int, help="cycles a turn (default: 1 on the CPU, else 20)")
    parser.add_argument("--turns", type=int, default=7)
    args = parser.parse_args()

    cycles = args.cycles or (1 if jax.devices()[0].platform == "cpu" else 20)
    names = args.methods.split(",")
    runs, steps = {}, {}
    for name in names:
        method = methods.create(name)
        every = method.upper_level.every if method.upper_level else 5
        for upper in (False, True) if method.upper_level else (False,):
            steps[name, upper] = cycles * every
            runs[name, upper] = training(
                method,
                args.student,
                args.teachers.split(","),
                steps=steps[name, upper],
                upper=upper,
                classes=args.classes,
                batch_size=args.batch_size,
                image_size=args.image_size,
                dtype=args.dtype,
            )
            runs[name, upper]()  # compiles
    seconds: dict[tuple[str, bool], list[float]] = {run: [] for run in runs}
    for _ in range(args.turns):
        for which, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[which].append((time.perf_counter() - start) / steps[which])

    device = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    print(f"`python {' '.join(sys.argv)}`  ")
    print(f"jax {jax.__version__}, Python {platform.python_version()}, {device}\n")
    plain = seconds["aver" if "aver" in names else names[0], False]
    print("| method | images/s, plain step | step / plain | upper / plain | whole / plain |")
    print("| --- | --- | --- | --- | --- |")
    for name in names:
        mine = seconds[name, False]
        row = [name, f"{args.batch_size / statistics.median(mine):.0f}", ratio(mine, plain), "", ""]
        if (name, True) in seconds:
            every = steps[name, True] / cycles
            whole = seconds[name, True]
            update = [every * (w - m) for w, m in zip(whole, mine, strict=True)]
            row[3:] = [ratio(update, plain), ratio(whole, plain)]
        print(f"| {' | '.join(row)} |")


def ratio(mine: list[float], plain: list[float]) -> str:
    """The median of the ratios within a turn."""
    return f"{statistics.median(m / p for m, p in zip(mine, plain, strict=True)):.2f}"


if __name__ == "__main__":
    main()
