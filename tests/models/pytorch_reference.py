"""What the published PyTorch networks give for weights and images that every test can draw again.

`pytorch_reference.json` was computed by PyTorch 2.13 (CPU, float32) from the published definitions that
docs/networks.md names, 10 classes, for `state_dict` and `images` of 32x32, or 64x64. In evaluation: the
parameter count, the logits, and of each NCHW feature its shape, mean, deviation and first values. Features
are what CA-MKD's, MMKD's and MTKD-RL's code hands out; those of torchvision's networks, and of MTKD-RL's
MobileNetV2, were hooked at the places where MMKD's copies hand them out, the last one always where the head
pools. The last feature of a WRN, which RepDistiller hands out before the final batch norm and ReLU, had these
two applied by numpy (its mean is that of PyTorch's embedding). In training: the cross-entropy with labels 0
and 1, the norms of its gradients, and the sums of the absolute running statistics after that one batch;
torchvision's MobileNetV2 without its dropout; in float64, but those of resnet8, wrn_16_1 and vgg8.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jkd import models
from jkd.interop.torch import to_state_dict

CLASSES = 10
REFERENCE: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())


def state_dict(name: str) -> dict[str, np.ndarray]:
    """Weights drawn from the entries' names and shapes, so that a misnamed one changes the outputs."""
    model = models.create(name, CLASSES)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape), variables)
    return {key: _weights(key, value.shape) for key, value in to_state_dict(zeros).items()}


def images(size: int) -> jax.Array:
    nchw = np.random.default_rng(size).standard_normal((2, 3, size, size))
    return jnp.asarray(nchw.transpose(0, 2, 3, 1), jnp.float32)


def _weights(key: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if len(shape) > 1:
        weights = rng.standard_normal(shape) * np.prod(shape[1:]) ** -0.5
    elif key.endswith(("running_var", "weight")):
        weights = rng.uniform(0.5, 1.5, shape)
    else:
        weights = 0.1 * rng.standard_normal(shape)
    return weights.astype(np.float32)
