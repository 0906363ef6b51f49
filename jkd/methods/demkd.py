"""DE-MKD: decoupled multi-teacher distillation by entropy (Cheng et al., Mathematics 12(11):1672, 2024).

Given by the paper's abstract: the vanilla KD loss is decoupled; each teacher gets an adaptive weight from the
entropy of its prediction; the same is extended to intermediate features.

Ours, because the abstract does not say:
- The decoupling is that of DKD (Zhao et al., CVPR 2022): TCKD, the divergence in the two-way choice between
  the label and the rest, and NCKD, the divergence among the other classes; both at temperature T, times T².
  α and β are DKD's (its code, mdistiller, configs/cifar100/dkd): α = 1, and β by the pair, 6 from VGG13 and
  between WRNs, 2 from ResNet56 and ResNet110, 8 elsewhere.
- Both parts grow linearly from nothing over the first 20 of 240 epochs, as in DKD's code (which does it in
  steps of an epoch). Of another number of epochs it is the same fraction, as it is with the learning rate.
- The weights, by `jkd.weighting.demkd_entropy`, are the same for the logits and the features of an example.
  Of confident teachers all entropies at temperature 1 are near zero, and their differences nearer: the
  softmax form (--weights=softmax) then gives all the same. Their quotient, EBKD's form, does not; of both
  forms at temperatures 1, 2 and 4 it puts most weight on the teachers that are right where these differ, and
  is the default (experiments/results/methods has the measurement).
- The features are the last maps, the student's carried to each teacher's by a 1×1 regressor.
- γ is a guess between CA-MKD's and MMKD's coefficients.
"""

from typing import Annotated, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from jkd.flags import Flag
from jkd.methods.base import Method
from jkd.methods.parts import Coefficient, StandardiseLogits, combine
from jkd.weighting import demkd_entropy


def demkd(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    alpha: Annotated[float, Flag("coefficient α of the target-class KD", at_least=0)] = 1.0,
    beta: Annotated[
        float,
        Flag(
            "coefficient β of the non-target-class KD; DKD's is 6 from VGG13 and between WRNs, 2 from "
            "ResNet56 and ResNet110, 8 elsewhere",
            at_least=0,
            tune=(1.0, 4.0, 8.0),
        ),
    ] = 8.0,
    gamma: Annotated[
        float, Flag("coefficient γ of the feature errors", at_least=0, tune=(10.0, 30.0, 100.0))
    ] = 30.0,
    warmup: Annotated[
        float,
        Flag("fraction of training over which both parts of the KD grow to α and β", at_least=0, below=1),
    ] = 0.0833,
    entropy_temperature: Annotated[
        float, Flag("temperature of the entropies that the weights come from", above=0)
    ] = 1.0,
    weights: Annotated[
        Literal["softmax", "ratio"],
        Flag("whether entropies are compared by their difference or their quotient"),
    ] = "ratio",
    standardise_logits: StandardiseLogits = False,
) -> Method:
    """CE + Σ_k w_k (α TCKD_k + β NCKD_k + γ mse_k), w_k by the entropy of teacher k's prediction."""

    def warmed(coefficient: float) -> Coefficient:
        def at(progress: Float[Array, ""]) -> Float[Array, ""]:
            return coefficient * jnp.minimum(progress / warmup, 1.0)

        return at if warmup else coefficient

    return combine(
        {"target_kd": warmed(alpha), "nontarget_kd": warmed(beta), "features": gamma},
        lambda s, t, labels, _: demkd_entropy(t, entropy_temperature, weights),
        temperature,
        standardise_logits,
    )
