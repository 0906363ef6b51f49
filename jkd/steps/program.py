"""A compiled program that tells what it takes."""

import time
from collections.abc import Callable
from typing import Any

import jax


class Program:
    """A function, compiled when first called, how many seconds that took, and the bytes that it takes on
    one device: arguments, results and what lies between, as the compiler says; 0 where it does not say."""

    def __init__(
        self,
        function: Callable[..., Any],
        donate: tuple[int, ...] = (),
        placed: Callable[..., Any] | None = None,
    ):
        """`placed` gives the shardings of the results, by the first arguments."""
        self._function, self._donate, self._placed = function, donate, placed
        self._jitted: Any = None
        self.memory, self.seconds = 0, 0.0

    def __call__(self, *arguments: Any) -> Any:
        """Runs it."""
        if not self.seconds:
            self._compile(arguments)
        return self._jitted(*arguments)

    def trace(self, *arguments: Any) -> jax.stages.Traced:
        """Returns the program for such arguments, whose shapes and shardings are enough."""
        if self._jitted is None:
            placed = None if self._placed is None else self._placed(*arguments)
            self._jitted = jax.jit(self._function, donate_argnums=self._donate, out_shardings=placed)
        return self._jitted.trace(*arguments)

    def _compile(self, arguments: tuple[Any, ...]) -> None:
        """Compiles for the very arguments of a call, which then finds the program in JAX's caches."""
        jax.block_until_ready(arguments)  # what the device does meanwhile is not compilation
        start = time.perf_counter()
        found = self.trace(*arguments).lower().compile().memory_analysis()
        self.seconds = time.perf_counter() - start
        if found:
            parts = found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes
            self.memory = sum(parts) - found.alias_size_in_bytes
