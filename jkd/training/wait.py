"""How long the device waits for images."""

import time
from typing import Any

import jax
from jaxtyping import PyTree


class Wait:
    """How long the device has had nothing to do for want of images."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._results: list[Any] = []
        self._idle_since: float | None = None

    def looks(self) -> None:
        """Looks whether the device has done what it was given."""
        if self._idle_since is None and all(result.is_ready() for result in self._results):
            self._idle_since = time.perf_counter()

    def ends(self) -> None:
        """The next images are there."""
        if self._idle_since is not None:
            self.seconds += time.perf_counter() - self._idle_since

    def begins_after(self, results: PyTree) -> None:
        """The device has been given something to do, until there are these results."""
        self._results, self._idle_since = jax.tree.leaves(results), None
