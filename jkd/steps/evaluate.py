"""How good a network is: predictions over a data set, and what they are worth."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from jkd.data import batches
from jkd.data.streamed import Images, in_batches
from jkd.steps.devices import Devices
from jkd.steps.images import Augmentation

# Guo et al. 2017, "On calibration of modern neural networks", section 3.
CALIBRATION_BINS = 15


class Predictor:
    """A function of variables and images over a whole data set, in batches of one size.

    The function gets images as networks see them, and returns arrays whose first axis is that of the images.
    """

    def __init__(
        self,
        function: Callable[[PyTree, Float[Array, "b h w c"]], PyTree],
        augmentation: Augmentation,
        devices: Devices,
        batch_size: int,
    ):
        self._devices, self._batch_size = devices, devices.round_up(batch_size)

        def predict(variables: PyTree, images):
            return function(variables, devices.shard(augmentation.evaluate(images)))

        self._predict = jax.jit(predict, out_shardings=devices.whole)  # whole, for every process to read

    def __call__(self, variables: PyTree, images: Images) -> Any:
        """Returns what the function gives for all images, as numpy arrays."""
        size = min(self._batch_size, self._devices.round_up(len(images)))
        indices, real = batches(len(images), size)
        rows = [batch[mask] for batch, mask in zip(indices, real, strict=True)]
        mine = self._devices.rows(size)
        found = []
        for batch, mask in zip(in_batches(images, rows, mine), real, strict=True):
            lacking = np.zeros((len(mine) - len(batch), *batch.shape[1:]), batch.dtype)
            filled = self._devices.split(np.concatenate([batch, lacking]), size)
            results = self._predict(variables, filled)
            found.append(jax.tree.map(lambda x, mask=mask: np.asarray(x)[mask], results))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def network_logits(network: Any) -> Callable[[PyTree, Float[Array, "b h w c"]], Float[Array, "b classes"]]:
    """Returns a network's own logits as a function of its variables and images."""
    return lambda variables, images: network.apply(variables, images, train=False).logits


def expected_calibration_error(
    logits: Float[Array, "examples classes"], labels: Int[Array, " examples"], bins: int = CALIBRATION_BINS
) -> Float[Array, ""]:
    """Returns Σ_b (n_b/n) |accuracy_b − confidence_b| over equal bins of the top-1 confidence, in [0, 1].

    Source: Guo et al. 2017, equation 3.
    """
    probabilities = jax.nn.softmax(logits)
    confidence = probabilities.max(-1)
    correct = logits.argmax(-1) == labels
    # Bin b is (b/bins, (b+1)/bins].
    place = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    gaps = jax.ops.segment_sum(correct - confidence, place, bins)
    return jnp.abs(gaps).sum() / len(labels)


@jax.jit
def accuracy_metrics(
    logits: Float[Array, "examples classes"], labels: Int[Array, " examples"]
) -> dict[str, Float[Array, ""]]:
    """Returns top-1 and top-5 accuracy, mean cross-entropy in nats and calibration error.

    With fewer than five classes, top-5 is over all of them. A network is right where its label is among the
    largest logits.
    """
    top5 = jax.lax.top_k(logits, min(5, logits.shape[-1]))[1]
    return {
        "top1": jnp.mean(top5[:, 0] == labels),
        "top5": jnp.mean((top5 == labels[:, None]).any(-1)),
        "loss": optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(),
        "ece": expected_calibration_error(logits, labels),
    }


def vote(
    teacher_logits: list[Float[np.ndarray, "examples classes"]],
) -> Float[np.ndarray, "examples classes"]:
    """Returns the log of the teachers' mean probabilities: the ensemble's logits; the argmax is its vote."""
    logs = jnp.stack([jax.nn.log_softmax(logits) for logits in teacher_logits])
    return np.asarray(jax.nn.logsumexp(logs, axis=0) - jnp.log(len(teacher_logits)))
