"""CA-MKD: a teacher is listened to as far as it is right about the label (Zhang, Chen and Wang, ICASSP 2022).

Given by the paper's abstract: the reliability of each teacher's prediction is assigned to each example, by
the labels. Given by its published code (github.com/Rorozhl/CA-MKD):
- w_k = (1 − softmax_k(CE(t_k, y))) / (K − 1) on each example, for the logits.
- u_k for the features is the same of the logits that teacher k's own classifier gives to the pooled r_k(F_s).
  The gradient flows through u_k, so that the regressors and the student also learn from it.
- Both terms are means over examples *and teachers*: the weights of an example together count 1/K. β = 50.
  So with K teachers its KD is as strong as AVER's at α/K, and its features as FitNet-MKD's at β/K: of three
  teachers a third of AVER's KD, and at β = 50 a sixth of what FitNet-MKD's features have at 100. To compare
  weightings at equal strength take α = K and β = 100 K.
- r_k is a 1×1 convolution with batch norm and ReLU, between last feature maps.

Where the published code differs from us: it leaves the feature term out in the first epoch, enlarges the
smaller of two maps where the teacher's is larger, and pools the student's map for each teacher from what was
left of it by the one before.

A single teacher has the weight one, where the formula divides by zero.
"""

from typing import Annotated

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from jkd.flags import Flag
from jkd.losses.features import mse
from jkd.methods.base import Batch, Loss, Method, Variables
from jkd.methods.parts import (
    StandardiseLogits,
    Teachers,
    kd_distances,
    logits_for_kd,
    stacked_logits,
    weight_metrics,
)
from jkd.methods.regressors import init_regressors, regress
from jkd.methods.scratch import cross_entropy
from jkd.models import Outputs
from jkd.weighting import confidence


def camkd(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    standardise_logits: StandardiseLogits = False,
    alpha: Annotated[float, Flag("coefficient α of the weighted KD's mean over teachers", at_least=0)] = 1.0,
    beta: Annotated[
        float,
        Flag(
            "coefficient β of the weighted feature errors' mean over teachers",
            at_least=0,
            tune=(10.0, 50.0, 150.0),
        ),
    ] = 50.0,
) -> Method:
    """CE + α · mean_k w_k KD_k + β · mean_k u_k mse_k, w and u by each teacher's confidence in the label."""

    def init(key: PRNGKeyArray, student: Outputs, teachers: Teachers) -> Variables:
        return Variables({"features": init_regressors(key, student, teachers)})

    def loss(variables: Variables, student: Outputs, teachers: Teachers, batch: Batch, progress) -> Loss:
        del progress
        pairs = [
            regress(params, student.features[-1], teacher.features[-1])
            for params, teacher in zip(variables.params["features"], teachers, strict=True)
        ]
        regressed_logits = jnp.stack(
            [t.head(mapped.mean((1, 2))) for t, (mapped, _) in zip(teachers, pairs, strict=True)]
        )
        logit_weights = confidence(stacked_logits(teachers), batch.labels)
        feature_weights = confidence(regressed_logits, batch.labels)
        errors = jnp.stack([mse(mapped, theirs) for mapped, theirs in pairs])
        ce = cross_entropy(student, batch)
        kd = (
            logit_weights * kd_distances(*logits_for_kd(student, teachers, standardise_logits), temperature)
        ).mean()
        features = (feature_weights * errors).mean()
        metrics = {"ce": ce, "kd": kd, "features": features}
        for of, weights in (("logits", logit_weights), ("features", feature_weights)):
            metrics |= weight_metrics(of, weights, batch.labels, student.logits.shape[-1])
        return Loss(ce + alpha * kd + beta * features, metrics)

    return Method(init, loss)
