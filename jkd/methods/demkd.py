"""DE-MKD: decoupled multi-teacher distillation by entropy (Cheng et al., Mathematics 12(11):1672, 2024).

Given by the paper's abstract: the vanilla KD loss is decoupled; each teacher gets an adaptive weight from the
entropy of its prediction; the same is extended to intermediate features.

Ours, because the abstract does not say:
- The decoupling is that of DKD (Zhao et al., CVPR 2022): TCKD, the divergence in the two-way choice between
  the label and the rest, and NCKD, the divergence among the other classes; both at temperature T, times T².
- w_k = (1 − softmax_k(H_k)) / (K − 1) on each example, for its logits and its features alike.
- The features are the last maps, the student's carried to each teacher's by a 1×1 regressor.
- The defaults: α and β are DKD's for VGG pairs (it takes β from 1 to 8 elsewhere), γ is a guess between
  CA-MKD's and MMKD's coefficients. DKD's linear warm-up over the first epochs is left out.
"""

from typing import Annotated

from jkd.flags import Flag
from jkd.methods.base import Method
from jkd.methods.parts import WEIGHTING, StandardiseLogits, combine


def demkd(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    alpha: Annotated[float, Flag("coefficient α of the target-class KD", at_least=0)] = 1.0,
    beta: Annotated[
        float, Flag("coefficient β of the non-target-class KD", at_least=0, tune=(1.0, 4.0, 8.0))
    ] = 8.0,
    gamma: Annotated[
        float, Flag("coefficient γ of the feature errors", at_least=0, tune=(10.0, 30.0, 100.0))
    ] = 30.0,
    standardise_logits: StandardiseLogits = False,
) -> Method:
    """CE + Σ_k w_k (α TCKD_k + β NCKD_k + γ mse_k), w_k by the entropy of teacher k's prediction."""
    return combine(
        {"target_kd": alpha, "nontarget_kd": beta, "features": gamma},
        WEIGHTING["demkd"],
        temperature,
        standardise_logits,
    )
