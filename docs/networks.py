"""Writes the table of docs/networks.md: `python docs/networks.py`."""

import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jkd import models

DOCUMENT = Path(__file__).with_suffix(".md")
REPDISTILLER = "RepDistiller `models/{}.py`"
MMKD = "MMKD `models/{}.py`"
MTKD_RL = "MTKD-RL `models/{}.py`"
TORCHVISION = "torchvision `models/{}.py`"
SOURCES = {
    "resnet20x4": MMKD.format("resnet"),
    "ResNet50": REPDISTILLER.format("resnetv2"),
    "MobileNetV2": REPDISTILLER.format("mobilenetv2") + ", `mobile_half`",
    "MobileNetV2_1_0": MTKD_RL.format("mobilenetv2") + ", its `MobileNetV2`",
    "ShuffleV1": REPDISTILLER.format("ShuffleNetv1"),
    "ShuffleV2": REPDISTILLER.format("ShuffleNetv2"),
    "ShuffleV2_0_5": MMKD.format("ShuffleNetv2"),
    "wrn_28_4": MTKD_RL.format("wrn"),
    "RegNetX_200MF": MTKD_RL.format("regnet"),
    "RegNetX_400MF": MTKD_RL.format("regnet"),
    "RegNetY_400MF": MTKD_RL.format("regnet"),
    "resnet10_imagenet": MMKD.format("resnet_imagenet_semckd") + ", `resnet10`",
    "resnet34x2_imagenet": MMKD.format("resnet_imagenet_semckd") + ", `wide_resnet34_2`",
    "resnet34x4_imagenet": MMKD.format("resnet_imagenet_semckd") + ", `wide_resnet34_4`",
    "mobilenet_v2_imagenet": TORCHVISION.format("mobilenetv2"),
    "shufflenet_v2_x1_0_imagenet": TORCHVISION.format("shufflenetv2"),
}


class Row(NamedTuple):
    """A network, its parameters and multiply-adds for one image of its native size, and where it is from."""

    name: str
    size: int  # pixels along a side
    parameters: int
    multiply_adds: int
    features: tuple[tuple[int, ...], ...]  # height, width, channels
    source: str

    def __str__(self) -> str:
        features = ", ".join(f"{side}²×{channels}" for side, _, channels in self.features)
        counts = f"{self.parameters / 1e6:.3f} M | {self.multiply_adds / 1e6:,.1f} M"
        return f"| `{self.name}` | {self.size}² | {counts} | {features} | {self.source} |"


def row(name: str) -> Row:
    """Returns what the table says of a network with 100 classes, 1000 if it is one for ImageNet."""
    imagenet = name.endswith("_imagenet")
    size = 224 if imagenet else 32
    multiply_adds = 0

    def count(call, args, kwargs, context):
        nonlocal multiply_adds
        result = call(*args, **kwargs)
        if isinstance(context.module, nn.Conv | nn.Dense) and context.method_name == "__call__":
            kernel = context.module.variables["params"]["kernel"]
            # Each element of a kernel is multiplied once for each place of the map.
            multiply_adds += math.prod(result.shape[1:-1]) * kernel.size
        return result

    model = models.create(name, 1000 if imagenet else 100)
    with nn.intercept_methods(count):
        outputs, variables = jax.eval_shape(
            model.init_with_output, jax.random.key(0), jnp.zeros((1, size, size, 3))
        )
    return Row(
        name,
        size,
        sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        multiply_adds,
        tuple(feature.shape[1:] for feature in outputs.features),
        _source(name),
    )


def _source(name: str) -> str:
    if name in SOURCES:
        return SOURCES[name]
    family = next(family for family in ("resnet", "wrn", "vgg") if name.startswith(family))
    return (TORCHVISION if name.endswith("_imagenet") else REPDISTILLER).format(family)


def rows() -> list[str]:
    """Returns the lines of the table in the document."""
    return [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]


if __name__ == "__main__":
    before, _, after = DOCUMENT.read_text().partition("| --- | --- | --- | --- | --- | --- |\n")
    rest = after.splitlines(keepends=True)[len(rows()) :]
    table = "".join(f"{row(name)}\n" for name in models.names())
    DOCUMENT.write_text(before + "| --- | --- | --- | --- | --- | --- |\n" + table + "".join(rest))
