"""Who is listened to: the weight of each teacher on each example, from outputs alone.

Teacher logits are one array [teachers, batch, classes], and weights are always [teachers, batch], so that any
weighting goes with any loss per example: Σ_k weights[k] · losses[k]. What the weights of an example sum to is
stated by each function. With a single teacher the weight is one.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jkd.losses.logits import kd, kd_by_class
from jkd.minimum_norm import minimum_norm_weights


def uniform(teacher_logits: Float[Array, "teachers batch classes"]) -> Float[Array, "teachers batch"]:
    """The same weight 1/K for each of the K teachers; sums to one."""
    teachers, batch, _ = teacher_logits.shape
    return jnp.full((teachers, batch), 1 / teachers, teacher_logits.dtype)


def ebkd_entropy(teacher_logits: Float[Array, "teachers batch classes"]) -> Float[Array, "teachers batch"]:
    """EBKD: w_k = 1 − H_k / Σ_j H_j, with H_k the entropy of teacher k's prediction at temperature 1.

    Sums to K − 1. Where no teacher has any doubt (all entropies zero) the weights are equal.

    Source: Kwon et al., "Adaptive knowledge distillation based on entropy", ICASSP 2020, as published with
    CA-MKD, where the loss is the mean over teachers (not the sum) of w_k · KD_k.
    """
    return _less_in_proportion(_entropy(teacher_logits)) * max(len(teacher_logits) - 1, 1)


def demkd_entropy(
    teacher_logits: Float[Array, "teachers batch classes"],
    temperature: float | Float[Array, ""] = 1.0,
    form: Literal["softmax", "ratio"] = "ratio",
) -> Float[Array, "teachers batch"]:
    """DE-MKD: the larger the entropy H_k of teacher k's prediction, the smaller its weight.

    "softmax" is w_k = (1 − softmax_k(H_k)) / (K − 1), which compares entropies by their difference, in nats;
    "ratio" is w_k = (1 − H_k / Σ_j H_j) / (K − 1), which compares them by their quotient. Sums to one.

    Args:
      teacher_logits: t_k.
      temperature: T > 0 at which the entropies are taken.
      form: one of the two.

    Source: ours. The abstract of DE-MKD (Cheng et al., "Decoupled multi-teacher knowledge distillation based
    on entropy", Mathematics 12(11):1672, 2024) says that the weights come from the entropies; the forms are
    those of CA-MKD and of EBKD.
    """
    entropies = _entropy(teacher_logits / temperature)
    return _less_in_proportion(entropies) if form == "ratio" else _less_for_more(entropies)


def confidence(
    teacher_logits: Float[Array, "teachers batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, "teachers batch"]:
    """CA-MKD: w_k = (1 − softmax_k(CE(t_k, y))) / (K − 1), more for a teacher nearer to the label.

    Sums to one. For the weights of features, the logits are those of teacher k's classifier on the student's
    regressed features; as in the published code the gradient then flows through the weights.

    Source: Zhang, Chen and Wang, "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022, by
    their code, where the loss is the mean over teachers (not the sum) of w_k · KD_k.
    """
    cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    return _less_for_more(jax.vmap(cross_entropy, in_axes=(0, None))(teacher_logits, labels))


def label_probability(
    teacher_logits: Float[Array, "teachers batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, "teachers batch"]:
    """The probability p_k(y) that each teacher gives an example's label, at temperature 1.

    What a weighting can be made of and none itself: it sums to anything from 0 to K.
    """
    return jnp.take_along_axis(jax.nn.softmax(teacher_logits), labels[None, :, None], axis=-1)[..., 0]


def gradient_consensus(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "teachers batch classes"],
    temperature: float | Float[Array, ""],
    cap: float = 0.6,
) -> Float[Array, "teachers batch"]:
    """AEKD: the weights, alike for all examples, whose combined gradient of the KD losses is shortest.

    Minimises ‖Σ_k w_k g_k‖ over Σ w = 1, 0 ≤ w_k ≤ cap, with g_k the gradient of teacher k's mean KD with
    respect to the student's logits, averaged over the batch. No gradient flows through the weights.

    Args:
      student_logits: s.
      teacher_logits: t_k.
      temperature: T > 0 of the KD losses.
      cap: the largest weight C; below 1/K, where no weights would sum to one, it counts as 1/K.

    Returns:
      Weights that sum to one, the same in each column.

    Source: Du et al., "Agree to disagree: adaptive ensemble knowledge distillation in gradient space",
    NeurIPS 2020, with C = 0.6 as in the published code of CA-MKD. There a one-class SVM solves it to an
    absolute tolerance of 1e-6, which small gradients meet before its first step; ours is exact.
    """
    student = jax.nn.softmax(student_logits / temperature).mean(axis=0)
    teachers = jax.nn.softmax(teacher_logits / temperature).mean(axis=1)
    # The gradients up to a common factor, which does not move the minimum.
    weights = minimum_norm_weights(student - teachers, cap)
    return jnp.broadcast_to(weights[:, None], teacher_logits.shape[:2])


def gpac_corrector(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "teachers batch classes"],
    labels: Int[Array, " batch"],
    temperature: float | Float[Array, ""],
    weight_temperature: float = 1.0,
) -> Float[Array, "teachers batch"]:
    """GPAC's adaptive corrector: the nearer a teacher's prediction to the student's, the larger its weight.

    w_k = softmax_k(−KL_k / τ) with KL_k = KL(softmax(t_k/T) ‖ softmax(s/T)). On an example that the student
    gets wrong, teachers that get it wrong too have no weight; where all do, the weights are equal. Sums to
    one. No gradient flows through the weights.

    Args:
      student_logits: s.
      teacher_logits: t_k.
      labels: y.
      temperature: T > 0 of the divergences.
      weight_temperature: τ > 0.

    Source: ours, after the abstract of GPAC ("Multi-teacher knowledge distillation based on joint guidance of
    probe and adaptive corrector", Neural Networks 164, 2023), which says that instructional weights emphasise
    the student's predicted direction and ease its learning, each teacher guiding by its own divergence from
    the student.
    """
    student_logits, teacher_logits = jax.lax.stop_gradient((student_logits, teacher_logits))
    losses = jax.vmap(kd, in_axes=(None, 0, None))(student_logits, teacher_logits, temperature)
    trusted = _trusted(student_logits, teacher_logits, labels)
    return _nearest(losses / temperature**2 / weight_temperature, trusted)


def gpac_class_corrector(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "teachers batch classes"],
    labels: Int[Array, " batch"],
    temperature: float | Float[Array, ""],
    weight_temperature: float = 1.0,
) -> Float[Array, "teachers batch classes"]:
    """GPAC's adaptive corrector by class: the nearer a teacher's probability of it, the larger its weight.

    w_kc = softmax_k(−C d_kc / τ) with d_kc = p_kc log(p_kc/q_c) − p_kc + q_c, which sum over the C classes to
    the KL_k of `gpac_corrector`; it has the same arguments and trusts the same teachers. Sums to one over the
    teachers, for each class. No gradient flows through the weights.

    Source: ours, as `gpac_corrector`, whose abstract leaves open whether the weights are of classes.
    """
    student_logits, teacher_logits = jax.lax.stop_gradient((student_logits, teacher_logits))
    losses = jax.vmap(kd_by_class, in_axes=(None, 0, None))(student_logits, teacher_logits, temperature)
    classes = student_logits.shape[-1]
    trusted = _trusted(student_logits, teacher_logits, labels)
    return _nearest(classes * losses / temperature**2 / weight_temperature, trusted[..., None])


def teacher_dropping(
    key: PRNGKeyArray, losses: Float[Array, "teachers batch"], probability: float
) -> Float[Array, "teachers batch"]:
    """UNIC: of each example some teachers are dropped, never the one that the student is furthest from.

    Every other is dropped with a probability, independently; those that are left weigh alike. Sums to one. No
    gradient flows through the weights.

    Args:
      key: for the draw.
      losses: how far the student is from each teacher.
      probability: in [0, 1]; 0 drops none, 1 leaves the teacher with the largest loss.

    Source: Sariyildiz et al., "UNIC: universal classification models via multi-teacher distillation", ECCV
    2024, and its published code (0.5 there), which divides by the teachers left in the whole batch where this
    divides by those left of the example.
    """
    losses = jax.lax.stop_gradient(losses)
    furthest = jnp.argmax(losses, axis=0) == jnp.arange(len(losses))[:, None]
    left = furthest | (jax.random.uniform(key, losses.shape) >= probability)
    return left / left.sum(axis=0)


def _trusted(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "teachers batch classes"],
    labels: Int[Array, " batch"],
) -> Bool[Array, "teachers batch"]:
    """Whether a teacher or the student gets an example right."""
    right = jnp.argmax(student_logits, axis=-1) == labels
    return right | (jnp.argmax(teacher_logits, axis=-1) == labels)


def _nearest(
    costs: Float[Array, "teachers ..."], trusted: Bool[Array, "teachers ..."]
) -> Float[Array, "teachers ..."]:
    """The smaller the cost of a trusted teacher, the larger its weight; all alike where none is trusted."""
    scores = jnp.where(trusted, -costs, -jnp.inf)
    return jax.nn.softmax(jnp.where(trusted.any(axis=0), scores, 0.0), axis=0)


def _less_for_more(costs: Float[Array, "teachers batch"]) -> Float[Array, "teachers batch"]:
    teachers = len(costs)
    return (1 - jax.nn.softmax(costs, axis=0)) / (teachers - 1) if teachers > 1 else jnp.ones_like(costs)


def _less_in_proportion(costs: Float[Array, "teachers batch"]) -> Float[Array, "teachers batch"]:
    teachers = len(costs)
    if teachers == 1:
        return jnp.ones_like(costs)
    total = costs.sum(axis=0)
    # Below this the gradient of the quotient overflows.
    positive = total > jnp.sqrt(jnp.finfo(total.dtype).tiny)
    # Not 1 − cost / total, which rounding can make negative.
    shares = jnp.where(positive, (total - costs) / jnp.where(positive, total, 1.0), 1 - 1 / teachers)
    return shares / (teachers - 1)


def _entropy(logits: Float[Array, "... classes"]) -> Float[Array, "..."]:
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=-1)
