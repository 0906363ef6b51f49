"""What every network gives, student and teacher alike."""

import dataclasses
from typing import Any, NamedTuple, NoReturn

import jax
from jaxtyping import Array, Float

from jkd.errors import UserError


class Outputs(NamedTuple):
    """The outputs of a network for a batch of images, float32 whatever the type it computes in.

    `features` holds the stem's and each stage's map, NHWC, shallow to deep. Those of ResNet and VGG come out
    of a ReLU. In WRN a batch norm and ReLU begin a block instead of ending it, so that the stem's and the
    first two stages' come before the next block's; the last comes after the network's final ones, as in the
    published code of CA-MKD, MMKD and MTKD-RL (RepDistiller hands out the signed map before these). So in
    every family the last of `features` is the map that the head sees: `embedding` is its global average, and
    `logits` are the unnormalised class scores, `Head` of the embedding.
    """

    logits: Float[Array, "batch classes"]
    features: tuple[Float[Array, "batch height width channels"], ...]
    embedding: Float[Array, "batch channels"]


class Head(NamedTuple):
    """The classifier of a network: the linear layer from the embedding to the logits."""

    kernel: Float[Array, "channels classes"]
    bias: Float[Array, " classes"]

    def __call__(self, embedding: Float[Array, "*batch channels"]) -> Float[Array, "*batch classes"]:
        """Returns the logits of embeddings."""
        return embedding @ self.kernel + self.bias


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Absent:
    """Stands where a network gives nothing; whoever looks at it learns in one line what is missing.

    A pytree without leaves, so that it travels through compiled programs.
    """

    what: str
    who: str

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UserError(f"{self.who} gives no {self.what.replace('_', ' ')}")

    def __getattr__(self, name: str) -> Any:
        """Refuses what an array, a tuple or a head is asked for."""
        if name.startswith("__") and name not in ("__array__", "__jax_array__"):
            raise AttributeError(name)
        self._refuse()

    __getitem__ = __iter__ = __len__ = __call__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = _refuse
    __truediv__ = __rtruediv__ = __pow__ = __neg__ = _refuse


def head(variables: Any) -> Head:
    """Returns the head of the network that has these variables: the one matrix among its parameters.

    Where there is none or are several, as may be in a network that is not jkd's, it is `Absent`.
    """
    absent: Any = Absent("head", "a network that has not exactly one matrix")
    params = variables["params"]
    found = [path for path, leaf in jax.tree.leaves_with_path(params) if len(leaf.shape) == 2]
    if len(found) != 1:
        return absent
    layer = params
    for entry in found[0][:-1]:
        layer = layer[entry.key]
    return Head(layer["kernel"], layer["bias"]) if {"kernel", "bias"} <= layer.keys() else absent
