"""Numbers of float64 within a block, in whichever jax."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax


@contextmanager
def double_precision(double: bool = True) -> Iterator[None]:
    """Computes in float64, or in float32: what newer jax calls `jax.enable_x64`."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", double)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)
