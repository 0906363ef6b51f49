"""jkd: multi-teacher knowledge distillation in JAX and Flax, with functional bi-level optimisation."""

__version__ = "0.1.0"
