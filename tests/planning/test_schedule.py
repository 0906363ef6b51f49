"""The learning rate over a run, and the upper level's with it."""

import jax.numpy as jnp
import pytest

import jkd


def test_the_rate_of_the_upper_level_falls_where_the_students_does():
    run = jkd.plan("bomd", teachers=["resnet8"], epochs=16, learning_rate=0.3)
    task = run.job.task
    assert task.method.upper_level.follow_schedule
    epochs = jnp.arange(16) * task.epoch_steps + 1
    rates = [float(task.relative_rate(step)) for step in epochs]
    assert rates == pytest.approx([1.0] * 10 + [0.1] * 2 + [0.01] * 2 + [0.001] * 2)
