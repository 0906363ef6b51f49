"""AEKD: the teachers are weighed so that a step lowers the divergence from as many of them as possible.

Source: Du et al., "Agree to disagree: adaptive ensemble knowledge distillation in gradient space", NeurIPS
2020.

Given by the published code of CA-MKD, which compares with it: the weights make the weighted mean of the
teachers' gradients with respect to the student's logits as short as possible, no weight above a cap of 0.6.
The gradients are averaged over the batch, so that a teacher has one weight for all examples of a batch.

Ours: the small quadratic program is solved exactly, inside the compiled step (`jkd.weighting`).
"""

from typing import Annotated

from jkd.flags import Flag
from jkd.losses.logits import standardise
from jkd.methods.base import Method
from jkd.methods.parts import StandardiseLogits, combine
from jkd.weighting import gradient_consensus


def aekd(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    alpha: Annotated[float, Flag("coefficient α of the weighted KD", at_least=0, tune=(0.3, 1.0, 3.0))] = 1.0,
    cap: Annotated[float, Flag("the largest weight; below 1/K it counts as 1/K", above=0, at_most=1)] = 0.6,
    standardise_logits: StandardiseLogits = False,
) -> Method:
    """CE + α Σ_k w_k KD_k, w the weights whose combined gradient is shortest."""

    def weigh(student, teachers, labels, temperature: float):
        del labels
        if standardise_logits:  # the gradients are those of the KD that there is
            student, teachers = standardise(student), standardise(teachers)
        return gradient_consensus(student, teachers, temperature, cap)

    return combine({"kd": alpha}, weigh, temperature, standardise_logits)
