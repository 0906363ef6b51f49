"""EBKD: the less doubt a teacher has about an example, the more it is listened to.

Source: Kwon et al., "Adaptive knowledge distillation based on entropy", ICASSP 2020.

Given by the published code of CA-MKD, which compares with it: w_k = 1 − H_k / Σ_j H_j, with H_k the entropy
of teacher k's prediction at temperature 1; the loss is the mean over examples *and teachers* of w_k · KD_k,
beside the cross-entropy, so that the weights of an example together count (K − 1)/K: of three teachers two
thirds of AVER's KD. To compare weightings at equal strength take α = K/(K − 1).
"""

from typing import Annotated

from jkd import weighting
from jkd.flags import Flag
from jkd.methods.base import Method
from jkd.methods.parts import StandardiseLogits, combine


def ebkd(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    alpha: Annotated[
        float, Flag("α of the weighted KD's mean over teachers", at_least=0, tune=(0.3, 1.0, 3.0))
    ] = 1.0,
    standardise_logits: StandardiseLogits = False,
) -> Method:
    """CE + α · mean_k w_k KD_k, w_k by the entropy of teacher k's prediction."""
    return combine(
        {"kd": alpha},
        lambda s, t, labels, _: weighting.ebkd_entropy(t) / len(t),
        temperature,
        standardise_logits,
    )
