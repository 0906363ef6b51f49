"""What is trained: all that a step needs to know and never changes."""

import dataclasses
from typing import Any

import optax

from jkd.methods.base import Method
from jkd.steps.asking import TeacherNetwork
from jkd.steps.devices import Devices
from jkd.steps.images import Augmentation


@dataclasses.dataclass(frozen=True)
class Task:
    """What a step needs to know and never changes."""

    method: Method
    student: Any
    teachers: tuple[TeacherNetwork, ...]
    optimizer: optax.GradientTransformation
    augmentation: Augmentation
    epoch_steps: int
    total_steps: int
    devices: Devices
    # The student's learning rate at a step, as a fraction of its highest.
    relative_rate: optax.Schedule = lambda step: 1.0
    highest_rate: float = float("nan")
    label_smoothing: float = 0.0

    def upper_due(self, step: int) -> bool:
        """Whether the step is one with an update of the upper level."""
        level = self.method.upper_level
        if level is None:
            return False
        due = step % level.every == level.every - 1
        if level.at_epoch_end:
            due |= step % self.epoch_steps == self.epoch_steps - 1
        if level.memory is not None:
            due &= step > 0  # nothing has been remembered before the first step
        return due
