"""Makes a folder of JPEGs with classes that can be learned: `folder:` data of any size, from nothing.

    python benchmarks/image_folder.py FOLDER --images=20000 --size=256 --classes=20

An image is a grating on a cloudy ground, both at random; its class is the grating's direction and colour.
The same arguments give the same files; a tenth of each class is in val/, the rest in train/.
"""

import argparse
import colorsys
from pathlib import Path

import numpy as np
from PIL import Image

HUES = 4


def picture(label: int, number: int, classes: int, size: int) -> Image.Image:
    """Returns image `number` of a class."""
    generator = np.random.default_rng((label, number, classes, size))
    directions = -(-classes // HUES)
    angle = np.pi * (label // HUES + generator.uniform(-0.15, 0.15)) / directions
    colour = np.asarray(colorsys.hsv_to_rgb((label % HUES + generator.uniform(-0.15, 0.15)) / HUES, 0.8, 1.0))
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    waves = generator.uniform(10, 20)
    grating = np.sin(2 * np.pi * (waves * (x * np.cos(angle) + y * np.sin(angle)) + generator.uniform()))
    coarse = Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    ground = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    drawn = 0.5 * ground + 64 * (1 + grating[..., None]) * colour.astype(np.float32)
    drawn += generator.normal(0, 6, drawn.shape).astype(np.float32)
    return Image.fromarray(drawn.clip(0, 255).astype(np.uint8))


def make(folder: Path, images: int, size: int, classes: int) -> None:
    """Writes the files that are not there yet."""
    each = images // classes
    for label in range(classes):
        for number in range(each):
            part = "val" if number % 10 == 9 else "train"
            file = folder / part / f"class{label:03}" / f"{number:06}.jpg"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                temporary = file.with_name(f".{file.name}")
                picture(label, number, classes, size).save(temporary, "jpeg", quality=90)
                temporary.replace(file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--classes", type=int, default=20)
    arguments = parser.parse_args()
    make(arguments.folder, arguments.images, arguments.size, arguments.classes)
