"""AMAL: adaptive mixing of auxiliary losses (Sivasubramanian et al., AAAI 2023, arXiv:2202.03250).

Given by the abstract: losses such as knowledge distillation's are mixed by weights of each training example,
which a bi-level criterion on validation data learns; a meta-learning approach towards it.

Given by the published code (github.com/durgas16/AMAL, folder KD):
- Each training image has a weight of its cross-entropy and one for each teacher's KD (T 4, times T²); the
  loss is the mean over the batch of Σ, and the weights of an image need not sum to anything.
- The weights follow, by plain gradient descent at rate 1500, the validation cross-entropy after one step of
  the student at its present rate; they are kept in [0, 2].
- They begin at 0.1 for the labels and 0.9 for each teacher. Every tenth epoch all are learned on, five times
  for each group of three batches of 128, from 1,000 validation images.

Where the published code differs from us: that step is of the last layer alone, without momentum, on features
in evaluation mode; ours is the student's own step, of all its parameters, on the present training batch, and
every fifth step learns the weights of its batch. Validation images are those of --held-out, a batch a step.

Ours: it begins where AVER is, at 1 for the labels and 1/K for each teacher, so that the two are equally
strong; and the rate. At 1500 one update carried an image's weights to their bounds (ResNet-8, 20 classes of
CIFAR-100: a deviation of 0.5 among the weights once each image had had its first, 0.1 at a rate of 100).
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jkd.flags import Flag
from jkd.methods.base import Batch, Loss, Method, UpperLevel, Variables
from jkd.methods.parts import StandardiseLogits, Teachers, kd_distances, logits_for_kd, weight_metrics
from jkd.methods.scratch import cross_entropies, cross_entropy
from jkd.methods.upper import UPPER, Estimator, Every, Rematerialise
from jkd.models import Outputs


def amal(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    standardise_logits: StandardiseLogits = False,
    alpha: Annotated[
        float,
        Flag("what the KD weights of an example sum to at first", at_least=0, tune=(0.3, 1.0, 3.0)),
    ] = 1.0,
    label_weight: Annotated[float, Flag("weight of an example's cross-entropy at first", at_least=0)] = 1.0,
    largest: Annotated[float, Flag("the largest weight", above=0, group=UPPER)] = 2.0,
    every: Every = 5,
    upper_learning_rate: Annotated[
        float,
        Flag("rate of the weights' gradient descent", above=0, group=UPPER, tune=(30.0, 100.0, 300.0)),
    ] = 100.0,
    estimator: Estimator = "unrolled",
    rematerialise: Rematerialise = False,
) -> Method:
    """Mean over examples i of λ_i CE_i + Σ_k λ_ik KD_ik, each λ learned by what held-out images say."""

    def init(key, student: Outputs, teachers: Teachers) -> Variables:
        del key, student
        count = len(teachers)
        return Variables(upper={"ce": jnp.asarray(label_weight), "kd": jnp.full(count, alpha / count)})

    def loss(variables: Variables, student: Outputs, teachers: Teachers, batch: Batch, progress) -> Loss:
        del progress
        own = jax.tree.map(lambda each: each[jnp.asarray(batch.positions)], variables.upper)
        divergences = kd_distances(*logits_for_kd(student, teachers, standardise_logits), temperature)
        ce = cross_entropies(student.logits, batch)
        weights = own["kd"].T
        weighted_kd = (weights * divergences).sum(0).mean()
        metrics = {"ce": ce.mean(), "kd": weighted_kd, "label_weight": own["ce"].mean()}
        metrics |= weight_metrics("logits", weights, batch.labels, student.logits.shape[-1])
        return Loss((own["ce"] * ce).mean() + weighted_kd, metrics)

    def keep(updates: PyTree, weights: PyTree) -> PyTree:
        return jax.tree.map(lambda u, w: jnp.clip(w + u, 0.0, largest) - w, updates, weights)

    upper_level = UpperLevel(
        inner_losses=(loss,),
        outer_loss=cross_entropy,
        optimizer=optax.chain(optax.sgd(upper_learning_rate), optax.stateless(keep)),
        every=every,
        estimator=estimator,
        rematerialise=rematerialise,
        per_example=True,
    )
    return Method(init, loss, upper_level)
