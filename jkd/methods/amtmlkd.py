"""AMTML-KD: adaptive multi-teacher multi-level distillation (Liu, Zhang and Wang, Neurocomputing 415, 2020).

Given by the abstract: each teacher has a latent representation, by which its importance for an example is
learned; the integrated soft target; hints from several teachers ("multi-group hint strategy").

Given by the published code (github.com/FLHonker/AMTML-KD-code, LR_adaptive_learning.ipynb):
- Teacher k's weight on an example is the softmax over the teachers of vᵀ(θ_k ∘ W), with v the student's
  pooled feature, θ_k the teacher's latent vector and W a vector common to all.
- The student learns from one integrated soft target, Σ_k w_k softmax(t_k/T), through which a gradient reaches
  the latent vectors; 0.1 (‖θ‖² + ‖W‖²) is added to the loss.
- Relations among examples: the angles of all triples and the distances of all pairs, of the student's
  predictions and of the integrated targets, each with the coefficient 1.

Ours:
- The latent vectors are learned along with the student throughout, by its optimizer and with its weight
  decay. The published code learns them together with the student for 80 epochs, then freezes them and leaves
  the regularisation and the hints out.
- θ starts at zero, so with equal weights, and W at ones; there both are drawn from a normal distribution.
  The student gets no gradient through the weights: it learns the targets, not to prefer the easy ones.
  So started, the published regularisation draws θ and W to zero within a few epochs and the weights to equal
  ones; without it, one teacher soon has all the weight (experiments/results/methods).
- Hints: teacher k of K hints at the student's stage k, counted so that the last teacher hints at the last
  stage (teachers beyond the number of stages start over), from its own map at the same relative depth, by a
  1×1 regressor and with equal weights. The order of --teachers therefore matters: shallow to deep.
- Angles and distances are those of softmax(s/T), not of its logarithm.
- α and β. (There: T = 5, 0.3 of the cross-entropy, 1.4 T² of the divergence averaged over the classes, too.)
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jkd.flags import Flag
from jkd.losses.features import mse
from jkd.losses.relations import angle, distance
from jkd.methods.base import Batch, Loss, Method, TeacherOutputs, Variables
from jkd.methods.parts import StandardiseLogits, Teachers, logits_for_kd, stacked_logits, weight_metrics
from jkd.methods.regressors import Map, init_regressor, regress
from jkd.methods.scratch import cross_entropy
from jkd.models import Outputs


def amtmlkd(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    standardise_logits: StandardiseLogits = False,
    alpha: Annotated[
        float, Flag("coefficient α of the KD from the integrated target", at_least=0, tune=(0.3, 1.0, 3.0))
    ] = 1.0,
    beta: Annotated[float, Flag("coefficient β of the hints", at_least=0, tune=(1.0, 10.0, 100.0))] = 10.0,
    gamma: Annotated[float, Flag("coefficient γ of the angles among triples", at_least=0)] = 1.0,
    delta: Annotated[float, Flag("coefficient δ of the distances of pairs", at_least=0)] = 1.0,
    regularisation: Annotated[
        float, Flag("coefficient of ‖θ‖² + ‖W‖², which pulls the weights towards equal ones", at_least=0)
    ] = 0.1,
) -> Method:
    """CE + α KD from a learned mixture of the teachers + β mean_k hint_k + γ angles + δ distances."""

    def init(key: PRNGKeyArray, student: Outputs, teachers: Teachers) -> Variables:
        channels = student.embedding.shape[-1]
        keys = jax.random.split(key, len(teachers))
        pairs = _hints(student, teachers)
        return Variables(
            {
                "latent": jnp.zeros((len(teachers), channels)),
                "common": jnp.ones(channels),
                "regressors": tuple(init_regressor(k, *pair) for k, pair in zip(keys, pairs, strict=True)),
            }
        )

    def loss(variables: Variables, student: Outputs, teachers: Teachers, batch: Batch, progress) -> Loss:
        del progress
        latent, common = variables.params["latent"], variables.params["common"]
        pooled = jax.lax.stop_gradient(student.embedding)
        scores = jnp.matmul(latent * common, pooled.T, precision=jax.lax.Precision.HIGHEST)
        log_weights = jax.nn.log_softmax(scores, axis=0)
        seen_student, seen_teachers = logits_for_kd(student, teachers, standardise_logits)
        log_teachers = jax.nn.log_softmax(stacked_logits(seen_teachers) / temperature)
        log_target = jax.nn.logsumexp(log_weights[..., None] + log_teachers, axis=0)
        log_student = jax.nn.log_softmax(seen_student.logits / temperature)
        divergence = optax.losses.kl_divergence_with_log_targets(log_student, log_target)
        pairs = _hints(student, teachers)
        errors = [
            mse(*regress(p, *pair)) for p, pair in zip(variables.params["regressors"], pairs, strict=True)
        ]
        ce = cross_entropy(student, batch)
        kd = temperature**2 * divergence.mean()
        features = jnp.stack(errors).mean()
        relations = jnp.exp(log_student), jax.lax.stop_gradient(jnp.exp(log_target))
        angles, distances = angle(*relations).mean(), distance(*relations).mean()
        size = optax.tree.norm((latent, common), squared=True)
        metrics = {"ce": ce, "kd": kd, "features": features, "angle": angles, "distance": distances}
        metrics |= {"latent": size}
        metrics |= weight_metrics("logits", jnp.exp(log_weights), batch.labels, student.logits.shape[-1])
        related = gamma * angles + delta * distances
        return Loss(ce + alpha * kd + beta * features + related + regularisation * size, metrics)

    return Method(init, loss)


def _hints(student: Outputs, teachers: Teachers) -> list[tuple[Map, Map]]:
    """Returns, for each teacher, the student's map that it hints at and its own at the same depth."""
    stages = len(student.features) - 1  # the stem is none
    return [
        (student.features[stage], _at_depth(teacher, stage / stages))
        for teacher, stage in (
            (teacher, 1 + (stages - len(teachers) + k) % stages) for k, teacher in enumerate(teachers)
        )
    ]


def _at_depth(teacher: TeacherOutputs, depth: float) -> Float[Array, "batch height width channels"]:
    return teacher.features[round(depth * (len(teacher.features) - 1))]
