"""What is found by a look at every image: the data set's fingerprint, and how often there is each value.

Of images that are to be read this is done once, and kept: it takes as long as an epoch's reading. It finds
those that are damaged before anything is trained, and makes a streamed data set the same as one in memory.
"""

import dataclasses
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int

from jkd.data.streamed import Images, Streamed
from jkd.errors import UserError
from jkd.machine import files, hosts
from jkd.machine.bars import bar
from jkd.provenance import fingerprint

Counts = Int[np.ndarray, "3 256"]
_DIGITS = 12  # of a fingerprint


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        fingerprint: Hexadecimal digits that stand for images and labels.
        counts: How often each channel has each value in the first part's images.
    """

    fingerprint: str
    counts: Counts

    @classmethod
    def of(cls, written: bytes) -> "Survey":
        """Returns what was written as bytes."""
        return cls(
            written[:_DIGITS].decode(), np.frombuffer(written, np.int64, offset=_DIGITS).reshape(3, 256)
        )

    def __bytes__(self) -> bytes:
        return self.fingerprint.encode() + self.counts.astype(np.int64).tobytes()


def survey(name: str, parts: tuple[Any, ...]) -> Survey:
    """Looks at every image of a data set, or reads what was found when that was done.

    Of several processes of one run the first does, and the others wait for it.

    Args:
        name: The data set's.
        parts: Images and labels of each part in turn, those of training first.

    Raises:
        UserError: An image cannot be read.
    """
    return Survey.of(hosts.told(lambda: bytes(_survey(name, parts)), _DIGITS + 3 * 256 * 8))


def count_values(images: Images) -> Counts:
    """Returns how often each channel has each value."""
    counts = np.zeros((3, 256), np.int64)
    pieces = images.pieces() if isinstance(images, Streamed) else _cut(images)
    for piece in pieces:
        _count(piece, counts)
    return counts


def _survey(name: str, parts: tuple[Any, ...]) -> Survey:
    streamed = [part for part in parts if isinstance(part, Streamed)]
    key = hashlib.sha256()
    for part in parts:
        key.update(part.key.encode() if isinstance(part, Streamed) else np.ascontiguousarray(part).data)
    file = streamed[0].kept / f"{key.hexdigest()[:16]}.json" if all(s.key for s in streamed) else None
    if file is not None and file.exists():
        try:
            kept = files.read_json(file)
            return Survey(str(kept["fingerprint"]), np.asarray(kept["counts"], np.int64).reshape(3, 256))
        except (UserError, KeyError, ValueError, TypeError):
            pass  # damaged: looked at again
    found = _look(name, parts)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            content = {"fingerprint": found.fingerprint, "counts": found.counts.tolist()}
            files.replace(file, lambda stream: stream.write(json.dumps(content).encode()))
        except OSError as error:
            warnings.warn(
                f"what is found of every image is not kept, so the next start looks at them again: {error}",
                stacklevel=2,
            )
    return found


def _look(name: str, parts: tuple[Any, ...]) -> Survey:
    total = sum(len(part) for part in parts if isinstance(part, Streamed))
    counts = np.zeros((3, 256), np.int64)
    with bar(sys.stderr, desc=f"{name}: reading every image once", total=total) as progress:
        watched = [
            _Watched(part, progress, counts if index == 0 else None) if isinstance(part, Streamed) else part
            for index, part in enumerate(parts)
        ]
        return Survey(fingerprint(tuple(watched)), counts)


class _Watched:
    """Images that are counted while their fingerprint is taken."""

    def __init__(self, images: Streamed, progress: Any, counts: Counts | None):
        self._images, self._progress, self._counts = images, progress, counts
        self.shape, self.dtype = images.shape, images.dtype

    def pieces(self) -> Iterator[np.ndarray]:
        for piece in self._images.pieces():
            if self._counts is not None:
                _count(piece, self._counts)
            self._progress.update(len(piece))
            yield piece


def _cut(images: np.ndarray) -> Iterator[np.ndarray]:
    # Counting values widens them.
    return (images[start : start + 1024] for start in range(0, len(images), 1024))


def _count(images: np.ndarray, counts: Counts) -> None:
    # Exact, and eight times faster than floating-point sums.
    for channel in range(3):
        counts[channel] += np.bincount(images[..., channel].ravel(), minlength=256)
