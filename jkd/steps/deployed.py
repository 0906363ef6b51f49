"""The student as it is deployed: what it predicts, and what that costs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jkd.errors import UserError
from jkd.methods.asked import depended_on
from jkd.methods.base import Predict, Variables
from jkd.models import Head, Outputs
from jkd.steps.state import Split, State
from jkd.steps.task import Task


class Deployed(NamedTuple):
    """All that a deployed student's predictions may depend on."""

    params: Split
    stats: Split
    upper: PyTree
    heads: tuple[Head, ...]  # the teachers', where the method predicts with them

    @classmethod
    def of(cls, task: Task, state: State, teachers: tuple[PyTree, ...]) -> "Deployed":
        """Returns those of a state of training and of the teachers' variables."""
        alone = task.method.predict is None
        pairs = () if alone else zip(task.teachers, teachers, strict=True)
        return cls(state.params, state.stats, state.upper, tuple(t.head(v) for t, v in pairs))


def logits(
    student: Any, predict: Predict | None, variables: Deployed, images: Float[Array, "b h w c"]
) -> Float[Array, "b classes"]:
    """Returns the logits of the deployed student, all batch norm in evaluation mode.

    Args:
        student: its network.
        predict: the method's way to predict, or None where the network does it alone.
        variables: those of both.
        images: standardised images.
    """
    params, stats, upper, heads = variables
    network = {"params": params.student, "batch_stats": stats.student}
    outputs = student.apply(network, images, train=False)
    if predict is None:
        return outputs.logits
    return predict(Variables(params.method, stats.method, upper), outputs, heads)


class DeployedNetwork:
    """The network of a student whose method predicts with more than it (MKCD): called like any other."""

    def __init__(self, network: Any, predict: Predict):
        self.network, self._predict = network, predict

    def apply(self, variables: Deployed, images: Float[Array, "b h w c"], train: bool = False) -> Outputs:
        """Returns the student's outputs with the deployed logits, in evaluation mode."""
        if train:
            raise UserError("a deployed student is not trained: its network is `.network`")
        split = {"params": variables.params.student, "batch_stats": variables.stats.student}
        outputs = self.network.apply(split, images, train=False)
        return outputs._replace(logits=logits(self.network, self._predict, variables, images))


def cost(task: Task, variables: Deployed, image: tuple[int, int, int]) -> dict[str, int]:
    """Returns the numbers of parameters and of multiply-adds for one image of the deployed student.

    Only those parameters count that a prediction depends on: not the student's own head where its method
    predicts with another. Multiply-adds are half the floating-point operations that XLA counts before it
    optimises; those of the zeros that images and maps are padded with are not among them.
    """
    images = jax.ShapeDtypeStruct((1, *image), jnp.float32)

    def predict(variables: Deployed, images: Any) -> Array:
        return logits(task.student, task.method.predict, variables, images)

    program = jax.make_jaxpr(predict)(variables, images).jaxpr
    needed = depended_on(program)
    given = jax.tree.unflatten(jax.tree.structure((variables, images)), program.invars)[0]
    parameters = [v for v in jax.tree.leaves((given.params, given.upper, given.heads)) if v in needed]
    lowered = jax.jit(predict).trace(variables, images).lower(lowering_platforms=("cpu",))
    return {
        "parameters": sum(v.aval.size for v in parameters),
        "multiply_adds": round(lowered.cost_analysis()["flops"] / 2),
    }
