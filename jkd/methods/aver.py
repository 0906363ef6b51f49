"""AVER: every teacher is listened to alike (the baseline of the multi-teacher papers).

Given by the published code of CA-MKD, which compares with it: the mean over teachers of Hinton's KD, added to
the cross-entropy with the coefficient α = 1.
"""

from typing import Annotated

from jkd.flags import Flag
from jkd.methods.base import Method
from jkd.methods.parts import WEIGHTING, StandardiseLogits, combine


def aver(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    alpha: Annotated[float, Flag("coefficient α of the mean KD", at_least=0, tune=(0.3, 1.0, 3.0))] = 1.0,
    standardise_logits: StandardiseLogits = False,
) -> Method:
    """CE + α · mean_k KD_k."""
    return combine({"kd": alpha}, WEIGHTING["uniform"], temperature, standardise_logits)
