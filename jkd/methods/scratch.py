"""Training without teachers: the cross-entropy alone, what every distilled student is compared with."""

import jax
import optax
from jaxtyping import Array, Float

from jkd.methods.base import Batch, Loss, Method, Variables, no_variables
from jkd.models import Outputs


def cross_entropies(logits: Float[Array, "batch classes"], batch: Batch) -> Float[Array, " batch"]:
    """Cross-entropy of each example's logits with its label, in nats.

    The label is smoothed where the batch says so: 1 − ε of it stays with its class and ε is spread over all
    (Szegedy et al. 2016, "Rethinking the Inception architecture", section 7). Every method's cross-entropy is
    this one, so that `--label-smoothing` is of all.
    """
    hard = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    if isinstance(batch.label_smoothing, tuple):
        return hard
    even = -jax.nn.log_softmax(logits).mean(-1)
    return (1 - batch.label_smoothing) * hard + batch.label_smoothing * even


def cross_entropy(student: Outputs, batch: Batch) -> Float[Array, ""]:
    """Mean cross-entropy of the student's logits, in nats; see `cross_entropies`."""
    return cross_entropies(student.logits, batch).mean()


def scratch() -> Method:
    """The student on the labels alone."""

    def loss(variables: Variables, student: Outputs, teachers, batch: Batch, progress) -> Loss:
        del variables, teachers, progress
        ce = cross_entropy(student, batch)
        return Loss(ce, {"ce": ce})

    return Method(no_variables, loss, needs_teachers=False)
