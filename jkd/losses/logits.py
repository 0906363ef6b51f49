"""Losses between the logits of a student and of a teacher."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def kd(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    temperature: float | Float[Array, ""],
) -> Float[Array, " batch"]:
    """Knowledge distillation: T² · KL(softmax(t/T) ‖ softmax(s/T)).

    The factor T² keeps the size of the gradient from shrinking as T grows. Finite for logits of any size, and
    so is its gradient.

    Args:
      student_logits: s.
      teacher_logits: t; no gradient flows into them.
      temperature: T > 0; may be traced, to follow a schedule.

    Returns:
      The loss of each example in nats, at least zero up to rounding, and zero where s and t are equal.

    Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015, section 2.
    """
    teacher_logits = jax.lax.stop_gradient(teacher_logits)
    return temperature**2 * _kl_divergence(student_logits / temperature, teacher_logits / temperature)


def kd_by_class(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    temperature: float | Float[Array, ""],
) -> Float[Array, "batch classes"]:
    """Knowledge distillation, class by class: T² · (p log(p/q) − p + q), p = softmax(t/T), q of s.

    Sums to `kd` over the classes. Each class has its least, zero, where q = p, so that weights of their own
    for the classes do not move the optimum, as they would that of p log(p/q).

    Args:
      student_logits: s.
      teacher_logits: t; no gradient flows into them.
      temperature: T > 0; may be traced, to follow a schedule.

    Returns:
      The loss of each example and class in nats, at least zero up to rounding.

    Source: ours; the generalised Kullback-Leibler divergence (Csiszár 1991) of unnormalised distributions.
    """
    log_p = jax.nn.log_softmax(jax.lax.stop_gradient(teacher_logits) / temperature)
    log_q = jax.nn.log_softmax(student_logits / temperature)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    return temperature**2 * (p * (log_p - log_q) - p + q)


def decoupled_kd(
    student_logits: Float[Array, "batch classes"],
    teacher_logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    temperature: float | Float[Array, ""],
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Decoupled knowledge distillation: `kd` taken apart into its target-class and its non-target-class part.

    With p the teacher's probability of the label at temperature T, `kd` equals target + (1 − p) · nontarget;
    the loss of DKD is α · target + β · nontarget.

    Args:
      student_logits: s.
      teacher_logits: t; no gradient flows into them.
      labels: y, in [0, classes).
      temperature: T > 0; may be traced, to follow a schedule.

    Returns:
      target: TCKD, T² · KL of the two-way distributions (label, rest), per example in nats.
      nontarget: NCKD, T² · KL of the distributions among the other classes, per example in nats.

    Source: Zhao et al., "Decoupled knowledge distillation", CVPR 2022, section 3.
    """
    teacher_logits = jax.lax.stop_gradient(teacher_logits)
    student_two, student_others = _decouple(student_logits / temperature, labels)
    teacher_two, teacher_others = _decouple(teacher_logits / temperature, labels)
    target = temperature**2 * _kl_divergence(student_two, teacher_two)
    nontarget = temperature**2 * _kl_divergence(student_others, teacher_others)
    return target, nontarget


def standardise(logits: Float[Array, "... classes"]) -> Float[Array, "... classes"]:
    """Logit standardisation: each example's logits shifted and scaled to mean 0 and deviation 1.

    Before `kd` or `decoupled_kd`, of the student's and of the teacher's logits, it leaves to match how the
    classes stand to each other, not how far the logits range. Where all classes are alike the result is zero
    and gets no gradient.

    Source: Sun et al., "Logit standardization in knowledge distillation", CVPR 2024; as in its published code
    the deviation is that of C − 1 degrees of freedom. There 1e-7 is added to it.
    """
    centred = logits - logits.mean(axis=-1, keepdims=True)
    largest = jax.lax.stop_gradient(jnp.abs(centred).max(axis=-1, keepdims=True))
    rounding = 4 * jnp.finfo(logits.dtype).eps * jnp.abs(logits).max(axis=-1, keepdims=True)
    varied = largest > rounding
    # Of numbers near one, whose squares neither overflow nor vanish; the result does not depend on `largest`.
    near_one = jnp.where(varied, centred / jnp.where(varied, largest, 1.0), 0.0)
    variance = jnp.sum(near_one**2, axis=-1, keepdims=True) / (logits.shape[-1] - 1)
    return near_one * jax.lax.rsqrt(jnp.where(varied, variance, 1.0))


def _kl_divergence(
    student_logits: Float[Array, "batch classes"], teacher_logits: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    return optax.losses.kl_divergence_with_log_targets(
        jax.nn.log_softmax(student_logits), jax.nn.log_softmax(teacher_logits)
    )


def _decouple(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> tuple[Float[Array, "batch 2"], Float[Array, "batch classes-1"]]:
    """Splits the logits into those of (label, rest) and those of the classes other than the label."""
    labels = labels[:, None]
    target = jnp.take_along_axis(logits, labels, axis=1)
    # Leaving the label's column out, and not masking it by a large number, is exact for logits of any size.
    before = jnp.arange(logits.shape[1] - 1) < labels
    others = jnp.where(before, logits[:, :-1], logits[:, 1:])
    rest = jax.nn.logsumexp(others, axis=1, keepdims=True)
    return jnp.concatenate([target, rest], axis=1), others
