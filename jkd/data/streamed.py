"""Images that are read when they are needed, for data sets larger than memory.

Threads of grain's read ahead, in the order that they are asked for. What is read when is a function of the
arguments alone: nothing of a reader is saved, and a resumed run reads what an uninterrupted one would have.
"""

import dataclasses
import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from jkd.data.images import resize, unlike
from jkd.data.sampling import crop_generator
from jkd.errors import UserError
from jkd.machine import system

# A run on the CPU holds a data set twice: as it was loaded, and as JAX's.
_RESIDENT_SHARE = 0.5
_PIECE_BYTES = 2**25  # of images that are read at once to look at all
READ_AHEAD = 2**28
"""The bytes of images that wait to be asked for, at most."""

Batch = UInt8[np.ndarray, "images height width 3"]


class Crops(NamedTuple):
    """Random parts of the images of training steps: each a function of seed, step and place in the batch."""

    seed: int
    first_step: int
    places: int  # of each step; images at later places are not cropped
    smallest: float  # share of an image's area

    def box(self, row: int, place: int, width: int, height: int) -> tuple[float, float, float, float] | None:
        """Returns left, upper, right and lower edge in pixels, drawn as `jkd.data.augment.resized_crop`."""
        if place >= self.places:
            return None
        generator = crop_generator(self.seed, self.first_step + row, place)
        area = generator.uniform(self.smallest, 1) * width * height
        shape = np.exp(generator.uniform(-1, 1) * np.log(4 / 3))
        across, down = min(np.sqrt(area * shape), width), min(np.sqrt(area / shape), height)
        left, upper = generator.uniform(0, width - across), generator.uniform(0, height - down)
        return left, upper, left + across, upper + down


@dataclasses.dataclass(frozen=True, eq=False)
class Streamed:
    """Images of one size that lie elsewhere; where an array of them is read, so is this, in threads.

    Attributes:
        source: Returns the name of an image, for errors, and the image, by its number; from any thread.
        numbers: Those of these images.
        size: Their height and width.
        scaled: Whether images are scaled and cropped to that size; otherwise they must be of it.
        origin: Stands for what the source reads, without a look at any image; empty where nothing can.
        kept: The folder where it is kept what was found when all were looked at.
        changes: What is made of them after they are read.
    """

    source: Callable[[int], tuple[str, Image.Image]]
    numbers: Int[np.ndarray, " images"]
    size: tuple[int, int]
    scaled: bool
    origin: str
    kept: Path
    changes: tuple[Callable[[Batch], Batch], ...] = ()

    dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As an array of them would have it."""
        return len(self), *self.size, 3

    @property
    def nbytes(self) -> int:
        """What an array of them would take."""
        return int(np.prod(self.shape))

    @cached_property
    def key(self) -> str:
        """Digits that stand for the images without a look at any; nothing where that cannot be."""
        if not self.origin or self.changes:
            return ""
        told = f"{self.origin} {self.size} {self.scaled} {Image.__version__}".encode()
        return hashlib.sha256(told + np.ascontiguousarray(self.numbers, np.int64).tobytes()).hexdigest()

    def __getitem__(self, which: slice | Int[np.ndarray, " chosen"]) -> Batch:
        """Reads images."""
        chosen = np.arange(len(self))[which]
        return next(self.batches([chosen])) if len(chosen) else np.empty((0, *self.shape[1:]), self.dtype)

    def select(self, chosen: Int[np.ndarray, " chosen"]) -> "Streamed":
        """Returns some of them, none read."""
        return dataclasses.replace(self, numbers=self.numbers[chosen])

    def pieces(self) -> Iterator[Batch]:
        """Reads them all, some at a time."""
        count = max(1, _PIECE_BYTES // int(np.prod(self.shape[1:])))
        return self.batches(
            [np.arange(start, min(start + count, len(self))) for start in range(0, len(self), count)]
        )

    def image(self, place: int, crop: Callable[[int, int], Any] | None = None) -> Batch:
        """Reads one image, or a part of it that is given by its width and height, scaled to the size."""
        name, image = self.source(int(self.numbers[place]))
        image = image.convert("RGB")
        height, width = self.size
        if crop is not None and (box := crop(image.width, image.height)) is not None:
            image = image.resize((width, height), Image.Resampling.BILINEAR, box)
        elif self.scaled:
            image = resize(image, height)
        elif (image.height, image.width) != self.size:
            raise unlike(name, image, self.source(int(self.numbers[0]))[0], self.size)
        found = np.asarray(image)
        for change in self.changes:
            found = change(found[None])[0]
        return found

    def batches(
        self,
        rows: Sequence[Int[np.ndarray, " batch"]],
        crops: Crops | None = None,
        before_each: Callable[[], None] = lambda: None,
        mine: Int[np.ndarray, " mine"] | None = None,
    ) -> Iterator[Batch]:
        """Reads batches in order, the next ones ahead, as soon as the first is asked for.

        Args:
            rows: Places of the images of each batch; all batches but the last are of one size.
            crops: Which parts of them; None: the whole.
            before_each: Called before each image is waited for.
            mine: Which rows of a batch are read, in rising order; None: all.

        Raises:
            UserError: grain is missing, or an image cannot be read or is of another size.
        """
        check_grain()
        import grain

        wanted = _Wanted(self, rows, crops, np.arange(len(rows[0])) if mine is None else mine)
        options = grain.ReadOptions(
            num_threads=system.cores(), prefetch_buffer_size=self.ahead(len(wanted.mine))
        )
        reader = iter(grain.MapDataset.source(wanted).to_iter_dataset(options))
        try:
            for row in rows:
                batch = np.empty((wanted.count(row), *self.shape[1:]), self.dtype)
                for place in range(len(batch)):
                    before_each()
                    batch[place] = next(reader)
                yield batch
        finally:
            reader.close()

    def ahead(self, batch_size: int) -> int:
        """Returns how many images are read before they are asked for."""
        room = READ_AHEAD // int(np.prod(self.shape[1:]))
        return max(min(2 * batch_size, room), 2 * system.cores())


@dataclasses.dataclass(frozen=True, eq=False)
class _Wanted:
    """What grain's threads read: images by their place in the order."""

    images: Streamed
    rows: Sequence[Int[np.ndarray, " batch"]]
    crops: Crops | None
    mine: Int[np.ndarray, " mine"]

    def __len__(self) -> int:
        return (len(self.rows) - 1) * len(self.mine) + self.count(self.rows[len(self.rows) - 1])

    def count(self, row: Int[np.ndarray, " batch"]) -> int:
        """Returns how many of a batch's images are read."""
        return int(np.searchsorted(self.mine, len(row)))

    def __getitem__(self, index: Any) -> Batch:
        row, number = divmod(int(index), len(self.mine))
        place = int(self.mine[number])
        crop = None if self.crops is None else partial(self.crops.box, row, place)
        return self.images.image(int(self.rows[row][place]), crop)


Images = UInt8[np.ndarray, "images height width 3"] | Streamed
"""Images in memory, or to be read."""


def in_batches(
    images: Images, rows: Sequence[Int[np.ndarray, " batch"]], mine: Int[np.ndarray, " mine"]
) -> Iterable[Batch]:
    """Gives batches of images by their places: of each the rows that are `mine`, in rising order."""
    if isinstance(images, Streamed):
        return images.batches(rows, mine=mine)
    return (images[row[mine[mine < len(row)]]] for row in rows)


def select(images: Images, chosen: Int[np.ndarray, " chosen"]) -> Images:
    """Returns some of the images; those that are to be read still are."""
    return images.select(chosen) if isinstance(images, Streamed) else images[chosen]


def changed(images: Images, change: Callable[[Batch], Batch]) -> Images:
    """Returns what a function makes of images, of each by itself; of those to be read, once they are."""
    if isinstance(images, Streamed):
        return dataclasses.replace(images, changes=(*images.changes, change))
    return change(images)


def is_needed(name: str, stream: bool | None, count: int, size: tuple[int, int]) -> bool:
    """Whether a data set is to be streamed: as asked for, else where it would not fit into memory.

    Args:
        name: The data set's.
        stream: What was asked for; None: neither.
        count: Its images, of all parts.
        size: Their height and width.

    Raises:
        UserError: grain is missing.
    """
    bytes_needed = count * size[0] * size[1] * 3
    if stream is None and bytes_needed > _RESIDENT_SHARE * system.memory():
        check_grain(
            f"{name}: {count:,} images of {size[0]}x{size[1]} pixels take {system.mebibytes(bytes_needed)} "
            f"of this machine's {system.mebibytes(system.memory())} of memory, more than half; --no-stream "
            "has them there all the same, and --stream"
        )
        return True
    return bool(stream)


def check_grain(what: str = "--stream") -> None:
    """Raises UserError where grain is missing, which reads images ahead."""
    if importlib.util.find_spec("grain") is None:
        raise UserError(f"{what} needs grain: pip install 'jkd[stream]'")
