"""Training without teachers: the cross-entropy alone, what every distilled student is compared with."""

import optax

from jkd.methods.base import Batch, Loss, Method, Variables, no_variables
from jkd.models import Outputs


def cross_entropy(student: Outputs, batch: Batch):
    """Mean cross-entropy of the student's logits, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(student.logits, batch.labels).mean()


def scratch() -> Method:
    """The student on the labels alone."""

    def loss(variables: Variables, student: Outputs, teachers, batch: Batch, progress) -> Loss:
        del variables, teachers, progress
        ce = cross_entropy(student, batch)
        return Loss(ce, {"ce": ce})

    return Method(no_variables, loss, needs_teachers=False)
