"""AVER: every teacher is listened to alike (the baseline of the multi-teacher papers).

Given: the mean over teachers of Hinton's KD. Ours: it is added to the cross-entropy with one coefficient α.
"""

from typing import Annotated

import jax.numpy as jnp

from jkd.flags import Flag
from jkd.losses.logits import kd
from jkd.methods.base import Batch, Loss, Method, Variables, no_variables
from jkd.methods.scratch import cross_entropy
from jkd.models import Outputs


def aver(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    alpha: Annotated[float, Flag("coefficient α of the mean KD", at_least=0)] = 1.0,
) -> Method:
    """CE + α · mean_k KD_k."""

    def loss(variables: Variables, student: Outputs, teachers, batch: Batch, progress) -> Loss:
        del variables, progress
        ce = cross_entropy(student, batch)
        mean_kd = jnp.stack([kd(student.logits, t.logits, temperature) for t in teachers]).mean()
        return Loss(ce + alpha * mean_kd, {"ce": ce, "kd": mean_kd})

    return Method(no_variables, loss)
