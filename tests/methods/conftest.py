"""What the tests of methods share."""

import jax
import pytest


@pytest.fixture(scope="module")
def compiled_quickly():
    """Programs that run a few times on tiny arrays take less time to compile than compiled well."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
