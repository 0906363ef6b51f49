"""A folder of what teachers say of the training images in fixed views, in half precision.

`about.json` states what made it, `teachers.npz` holds the teachers' heads and test logits. Each output of a
teacher in a view is an `.npy` file of one row per training image; `views.jsonl` tells how many of its rows
are there, and their checksum. So a process that is killed leaves rows that the next one goes on from, and
methods that ask for more add files.
"""

import dataclasses
import os
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np

from jkd.errors import UserError
from jkd.machine import files
from jkd.methods.asked import Kept, Unasked
from jkd.teachers.about import damaged

# Of 10 bits of mantissa, where bfloat16 has 7: of a ResNet-20 on 20 classes of CIFAR-100, KD's gradient at
# T = 4 is off by 2e-4 of its norm, with bfloat16 by 16e-4; logits and maps stay within 17. What goes beyond
# its range is told.
DTYPE = np.dtype(np.float16)
_MARK_SECONDS = 30.0  # between the marks of how far a view has got
_PIECE = 2**26  # bytes read at once
_MARKS = "views.jsonl"
_HEADER = 128  # bytes of an .npy file before its rows

Ask = Callable[[int, np.ndarray, Kept], Kept]
"""Gives of some training images in a view, by number, what has a place in a form, as float16."""


@dataclasses.dataclass(frozen=True)
class KeptOutputs:
    """The folder, as one training uses it.

    Attributes:
        path: The folder.
        form: What the training's losses ask of each teacher: shapes for a batch, `Unasked` for the rest.
        images: How many training images there are.
        names: The teachers', for messages.
        ask: How to get what is missing, so many images at a time; None where there are no teachers to ask.
        at_once: How many.
    """

    path: Path
    form: Kept
    images: int
    names: tuple[str, ...] = ()
    ask: Ask | None = None
    at_once: int = 1

    def view(self, view: int, asked_to_stop: Callable[[], int] = lambda: 0) -> Kept | None:
        """Returns the outputs of a view, memory-mapped, a row per training image; asks for what is missing.

        Args:
            view: Its number, from 0.
            asked_to_stop: Whether to leave off, with what was done kept.

        Returns:
            The outputs; None where it left off.

        Raises:
            UserError: A file is damaged, a number is too large for half precision, or something is missing
                and there are no teachers.
        """
        while self.missing(view):
            if self.ask is None:
                self.check_whole(view)
            try:
                with files.locked(self.path):
                    self._fill(view, self.missing(view), asked_to_stop)
            except files.InUse:  # by another process that asks, perhaps for the same
                time.sleep(1)
            if asked_to_stop():
                return None
        return self._map(lambda name, place: self._read(_file(view, name), place))

    def check_whole(self, view: int) -> None:
        """Raises UserError unless a view is there, with all that is asked for."""
        if missing := self.missing(view):
            raise UserError(
                f"{self.path} lacks {missing[0]}"
                + (f" and {len(missing) - 1} more of view {view}" if len(missing) > 1 else "")
                + ", and there are no teachers to ask: give --teachers, or have `python -m "
                "jkd.experiments.precompute METHOD` write it where they are"
            )

    def missing(self, view: int) -> list[str]:
        """Returns the files of a view that are not there, or not whole."""
        marks = self._marks()
        wanted = (_file(view, name) for name, _ in self._places())
        return [name for name in wanted if name not in marks or marks[name]["rows"] < self.images]

    def _fill(self, view: int, missing: list[str], asked_to_stop: Callable[[], int]) -> None:
        assert self.ask is not None
        if not missing:
            return
        marks = self._marks()
        done = {marks[name]["rows"] if name in marks else 0 for name in missing}
        first = done.pop() if len(done) == 1 else 0

        def wanted(name: str, place: Any) -> Any:
            there = _file(view, name) not in missing
            return Unasked(tuple(place.shape[1:]), str(place.dtype)) if there else place

        form = self._map(wanted)
        rows = {_file(view, n): p.shape[1:] for n, p in self._places() if _file(view, n) in missing}
        began = time.monotonic()
        sums = {name: marks[name]["crc32"] if first else 0 for name in rows}
        files.drop_torn_line(self.path / _MARKS)
        self._mark(first, sums)  # before files that are begun anew are emptied
        with ExitStack() as stack:
            open_files = {
                name: stack.enter_context(self._open(name, shape, first)) for name, shape in rows.items()
            }
            marked = time.monotonic()
            for start in range(first, self.images, self.at_once):
                stop = min(start + self.at_once, self.images)
                said = jax.tree.leaves(self.ask(view, np.arange(start, stop, dtype=np.int32), form))
                for (name, file), output in zip(open_files.items(), said, strict=True):
                    rows_now = np.ascontiguousarray(output[: stop - start])
                    if not np.isfinite(rows_now).all():
                        raise UserError(
                            f"{self._whose(name)} gives numbers beyond the range of half precision "
                            f"({np.finfo(DTYPE).max:g}), or none: leave --teacher-views out"
                        )
                    file.write(rows_now.data)
                    sums[name] = zlib.crc32(rows_now.data, sums[name])
                asked = bool(asked_to_stop())
                if asked or stop == self.images or time.monotonic() - marked > _MARK_SECONDS:
                    for file in open_files.values():
                        file.flush()
                        os.fsync(file.fileno())
                    self._mark(stop, sums)
                    marked = time.monotonic()
                if asked:
                    return
        seconds = time.monotonic() - began
        count = self.images - first
        print(f"view {view}: teachers asked about {count:,} images in {seconds:.0f} s", flush=True)

    def _open(self, name: str, shape: tuple[int, ...], first: int) -> IO[bytes]:
        """Opens a file to append rows after the first so many, which are there."""
        path = self.path / name
        file: IO[bytes]
        if first:
            self._check(path, first * int(np.prod(shape)) * DTYPE.itemsize, self._marks()[name]["crc32"])
            file = open(path, "r+b")  # noqa: SIM115  the caller's to close
            file.truncate(_HEADER + first * int(np.prod(shape)) * DTYPE.itemsize)
            file.seek(0, 2)
            return file
        file = open(path, "wb")  # noqa: SIM115
        described = {"descr": DTYPE.str, "fortran_order": False, "shape": (self.images, *shape)}
        np.lib.format.write_array_header_1_0(file, described)
        assert file.tell() == _HEADER
        return file

    def _mark(self, rows: int, sums: dict[str, int]) -> None:
        for name, crc32 in sums.items():
            files.append_line(self.path / _MARKS, {"file": name, "rows": rows, "crc32": crc32})

    def _marks(self) -> dict[str, dict[str, Any]]:
        """Returns of each file how many of its rows are there, and their checksum."""
        return {line["file"]: line for line in files.read_lines(self.path / _MARKS)}

    def _read(self, name: str, place: Any) -> np.ndarray:
        path, shape = self.path / name, (self.images, *place.shape[1:])
        size = int(np.prod(shape)) * DTYPE.itemsize
        if path not in _checked:
            self._check(path, size, self._marks()[name]["crc32"])
            _checked.add(path)
        return np.memmap(path, DTYPE, "r", _HEADER, shape)

    def _check(self, path: Path, size: int, crc32: int) -> None:
        """Raises UserError unless a file's first `size` bytes of rows are those that were written."""
        found, left = 0, size
        try:
            with open(path, "rb") as file:
                file.seek(_HEADER)
                while left and (piece := file.read(min(left, _PIECE))):
                    found, left = zlib.crc32(piece, found), left - len(piece)
        except OSError as error:
            raise damaged(path, error.strerror) from error
        if left or found != crc32:
            raise damaged(path, f"it lacks {left:,} bytes" if left else "it holds other than was written")

    def _places(self) -> Iterator[tuple[str, Any]]:
        """Gives each output that is asked for, by name, and its shape."""
        for path, place in jax.tree_util.tree_leaves_with_path(self.form):
            yield ".".join(str(getattr(key, "name", getattr(key, "idx", key))) for key in path), place

    def _map(self, function: Callable[[str, Any], Any]) -> Kept:
        """Returns the form with what a function gives of each name and place."""
        found = [function(name, place) for name, place in self._places()]
        return jax.tree.unflatten(jax.tree.structure(self.form), found)

    def _whose(self, name: str) -> str:
        return self.names[int(name.partition("-")[2].partition(".")[0])]


_checked: set[Path] = set()  # files that this process has compared with their checksums


def _file(view: int, name: str) -> str:
    return f"view{view}-{name}.npy"
