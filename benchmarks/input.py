"""How fast images are streamed, what memory they take, and how long a device waits for them.

    python benchmarks/image_folder.py FOLDER --images=20000 --size=256
    python benchmarks/input.py FOLDER

Each turn decodes the same files by Pillow alone, in a loop in one thread, and streams them as training
does, in an order of its own; both may use the cores that this process is given (`taskset -c 0` for one). A
ratio is the median of the ratios within a turn, of the time by the clock and of the time that cores were
busy, which other work on the machine does not disturb. Then a device that needs nothing of the cores, a
sleep as long as a step would take, is fed at some parts of Pillow's speed: how much of the time it waits.
Memory is the process's peak beside what it had before the first image was streamed, over all images of the
folder.
"""

import argparse
import platform
import statistics
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from jkd import data
from jkd.data.streamed import Crops, Streamed
from jkd.machine import system

FED = (0.5, 0.7, 0.8, 0.9, 1.0, 1.2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=1536, help="images of each measurement")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--crop", action="store_true", help="random resized crops")
    args = parser.parse_args()

    dataset = data.load(f"folder:{args.folder}", image_size=args.image_size, stream=True)
    images = dataset.train_images
    assert isinstance(images, Streamed)
    before = resident()
    generator = np.random.default_rng(0)
    crops = Crops(0, 0, args.batch_size, 0.08) if args.crop else None

    def order() -> list[np.ndarray]:
        chosen = generator.permutation(len(images))[: args.images // args.batch_size * args.batch_size]
        return list(chosen.reshape(-1, args.batch_size))

    alone, streamed, busy = [], [], []
    for turn in range(args.turns + 1):  # the first warms up
        rows = order()
        seconds = {
            "alone": timed(lambda rows=rows: decode(images, rows, crops)),
            "streamed": timed(lambda rows=rows: drain(images, rows, crops)),
        }
        if turn:
            count = len(rows) * args.batch_size
            alone.append(count / seconds["alone"][0])
            streamed.append(count / seconds["streamed"][0])
            busy.append(seconds["alone"][1] / seconds["streamed"][1])
    speed = statistics.median(alone)
    cores = system.cores()
    ratio = statistics.median(s / (cores * a) for s, a in zip(streamed, alone, strict=True))
    waits = {share: waited(images, order(), crops, share * speed * cores) for share in FED}
    peak = max_resident(lambda: drain(images, list(all_rows(len(images), args.batch_size)), crops))

    print(f"`python {' '.join(sys.argv)}`  ")
    versions = ", ".join(f"{name} {version(name)}" for name in ("grain", "pillow", "numpy"))
    print(f"{versions}, Python {platform.python_version()}, {cores} core(s), {len(images):,} images\n")
    print("| | |\n| --- | --- |")
    print(f"| Pillow alone, one thread | {speed:,.0f} images/s |")
    print(f"| streamed, {cores} thread(s) | {statistics.median(streamed):,.0f} images/s |")
    print(f"| streamed / Pillow alone, per core | {ratio:.2f} |")
    print(f"| the same by the cores' busy time | {statistics.median(busy):.2f} |")
    print(f"| memory beside the process's {system.mebibytes(before)} | {system.mebibytes(peak - before)} |")
    for share, wait in waits.items():
        print(f"| a device that takes {share:.1f} of Pillow's images waits | {wait:.1%} of the time |")


def decode(images: Streamed, rows: list[np.ndarray], crops: Crops | None) -> None:
    """Does with Pillow what has to be done with each file, and nothing else."""
    for row, places in enumerate(rows):
        for place, number in enumerate(places):
            image = images.source(int(images.numbers[number]))[1].convert("RGB")
            box = crops.box(row, place, *image.size) if crops else None
            side = min(image.size)
            left, upper = (image.width - side) / 2, (image.height - side) / 2
            kind = Image.Resampling.BILINEAR if box else Image.Resampling.BICUBIC
            image.resize(images.size[::-1], kind, box or (left, upper, left + side, upper + side))


def drain(images: Streamed, rows: list[np.ndarray], crops: Crops | None) -> None:
    for _ in images.batches(rows, crops):
        pass


def waited(images: Streamed, rows: list[np.ndarray], crops: Crops | None, speed: float) -> float:
    """Returns the share of the time that a device of a speed waits, from its first batch on."""
    batches = images.batches(rows, crops)
    next(batches)
    start, idle = time.perf_counter(), 0.0
    for _ in rows[1:]:
        # The loop is one call ahead: it reads the next images while the device is at the last.
        asked = time.perf_counter()
        next(batches)
        took = time.perf_counter() - asked
        step = len(rows[0]) / speed
        idle += max(0.0, took - step)
        time.sleep(max(0.0, step - took))
    return idle / (time.perf_counter() - start)


def timed(function) -> tuple[float, float]:
    """Returns the seconds that a function takes, by the clock and of all cores together."""
    start = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def all_rows(count: int, batch_size: int):
    order = np.random.default_rng(1).permutation(count)
    return (order[start : start + batch_size] for start in range(0, count, batch_size))


def resident() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def max_resident(function) -> int:
    """Returns the most memory that the process has while a function runs."""
    most, done = [resident()], threading.Event()

    def look() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], resident())

    watcher = threading.Thread(target=look)
    watcher.start()
    function()
    done.set()
    watcher.join()
    return most[0]


if __name__ == "__main__":
    main()
