"""What chips can do at most, as their makers say, without sparsity."""

from typing import NamedTuple

_GOOGLE, _NVIDIA = "Google Cloud's documentation", "NVIDIA's data sheet, halved where it is for sparsity"


class Peak(NamedTuple):
    """FLOP/s of products, by the type of the networks, bytes of memory traffic a second, and who says so.

    float32 is multiplied as is each platform's default: on TPUs in bfloat16, on an H200 as TF32.
    """

    flops: dict[str, float]
    bytes: float
    source: str


# By JAX's names. docs.cloud.google.com/tpu/docs/v5e and /v6e; the H200 is the SXM.
PEAKS = {
    "TPU v5 lite": Peak({"float32": 197e12, "bfloat16": 197e12}, 819e9, _GOOGLE),
    "TPU v6 lite": Peak({"float32": 918e12, "bfloat16": 918e12}, 1638e9, _GOOGLE),
    "NVIDIA H200": Peak({"float32": 494.5e12, "bfloat16": 989e12}, 4800e9, _NVIDIA),
}
