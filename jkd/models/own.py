"""Anyone's Flax module as a network of ours: the same calls, the same `Outputs`."""

import dataclasses
import inspect
from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jkd.errors import UserError
from jkd.models.base import Absent, Outputs

# What modules call the argument that says whether they are trained, and what it is then.
_TRAINING = {
    "train": lambda train: train,
    "training": lambda train: train,
    "is_training": lambda train: train,
    "deterministic": lambda train: not train,
    "use_running_average": lambda train: not train,
}
_COLLECTIONS = {"params", "batch_stats"}


@dataclasses.dataclass(frozen=True)
class OwnNetwork:
    """A Flax Linen module that gives `Outputs`, or logits alone.

    Its variables are "params" and, where it has batch norm, "batch_stats"; dropout draws from the step's own
    key. An NNX module becomes such a module by `flax.nnx.bridge.to_linen`.
    """

    module: nn.Module
    name: str

    def init(
        self, key: PRNGKeyArray, images: Float[Array, "batch height width channels"], train: bool = False
    ) -> dict[str, PyTree]:
        """Returns initial variables.

        Raises:
            UserError: the module has variables of another kind than parameters and batch statistics.
        """
        variables = self.module.init({"params": key, "dropout": key}, images, **self._argument(train))
        if other := variables.keys() - _COLLECTIONS:
            raise UserError(
                f"{self.name} has variables '{min(other)}'; a network's are params and batch_stats"
            )
        return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}

    def apply(
        self,
        variables: PyTree,
        images: Float[Array, "batch height width channels"],
        train: bool = False,
        mutable: Any = False,
        rngs: Any = None,
    ) -> Any:
        """Returns the outputs, with `mutable` beside the new batch statistics."""
        result = self.module.apply(variables, images, mutable=mutable, rngs=rngs, **self._argument(train))
        outputs, changed = result if mutable else (result, {})
        outputs = as_outputs(outputs, self.name)
        return (outputs, {"batch_stats": changed.get("batch_stats", {})}) if mutable else outputs

    def _argument(self, train: bool) -> dict[str, Any]:
        # A module of NNX is wrapped, and the wrapper takes any argument.
        call = getattr(self.module, "nnx_class", type(self.module)).__call__
        parameters = inspect.signature(call).parameters
        return {name: rule(train) for name, rule in _TRAINING.items() if name in parameters}


def as_outputs(given: Any, who: str) -> Outputs:
    """Returns what a network of anyone's gave as `Outputs`, told apart by what it looks like.

    Args:
        given: `Outputs`, or logits alone `[batch, classes]`; then whoever asks for features gets an error.
        who: the network's name in that error.

    Raises:
        UserError: it is neither.
    """
    if isinstance(given, Outputs):
        return given
    if isinstance(given, jax.Array) and given.ndim == 2:
        others: dict[str, Any] = {field: Absent(field, who) for field in Outputs._fields[1:]}
        return Outputs(given, **others)
    shown = f"shape {given.shape}" if hasattr(given, "shape") else type(given).__name__
    raise UserError(f"{who} gives {shown}; a network gives logits [batch, classes] or jkd.models.Outputs")
