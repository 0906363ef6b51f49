"""Who is listened to: the weight of each teacher on each example, from outputs alone.

Teacher logits are one array [teachers, batch, classes], and weights are always [teachers, batch], so that any
weighting goes with any loss per example: Σ_k weights[k] · losses[k]. What the weights of an example sum to is
stated by each function. With a single teacher the weight is one.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jkd.losses.logits import kd


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
    teachers = len(teacher_logits)
    if teachers == 1:
        return uniform(teacher_logits)
    entropies = _entropy(teacher_logits)
    total = entropies.sum(axis=0)
    # Below this the gradient of the quotient overflows.
    doubtful = total > jnp.sqrt(jnp.finfo(total.dtype).tiny)
    # Not 1 − H_k / Σ_j H_j, which rounding can make negative.
    return jnp.where(doubtful, (total - entropies) / jnp.where(doubtful, total, 1.0), 1 - 1 / teachers)


def demkd_entropy(teacher_logits: Float[Array, "teachers batch classes"]) -> Float[Array, "teachers batch"]:
    """DE-MKD: w_k = (1 − softmax_k(H_k)) / (K − 1), with H_k the entropy of teacher k at temperature 1.

    Sums to one.

    Source: ours. The abstract of DE-MKD (Cheng et al., "Decoupled multi-teacher knowledge distillation based
    on entropy", Mathematics 12(11):1672, 2024) says that the weights come from the entropies; the form is
    that of CA-MKD.
    """
    return _less_for_more(_entropy(teacher_logits))


def confidence(
    teacher_logits: Float[Array, "teachers batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, "teachers batch"]:
    """CA-MKD: w_k = (1 − softmax_k(CE(t_k, y))) / (K − 1), more for a teacher nearer to the label.

    Sums to one. For the weights of features, the logits are those of teacher k's classifier on the student's
    regressed features; as in the published code the gradient then flows through the weights.

    Source: Zhang, Chen and Wang, "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022,
    section 2, and their code, where the loss is the mean over teachers (not the sum) of w_k · KD_k.
    """
    cross_entropy = optax.losses.softmax_cross_entropy_with_integer_labels
    return _less_for_more(jax.vmap(cross_entropy, in_axes=(0, None))(teacher_logits, labels))


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
    divergences = losses / temperature**2
    right = jnp.argmax(student_logits, axis=-1) == labels
    trusted = right | (jnp.argmax(teacher_logits, axis=-1) == labels)
    scores = jnp.where(trusted, -divergences / weight_temperature, -jnp.inf)
    return jax.nn.softmax(jnp.where(trusted.any(axis=0), scores, 0.0), axis=0)


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


def minimum_norm_weights(vectors: Float[Array, "vectors dimensions"], cap: float) -> Float[Array, " vectors"]:
    """The weights of the shortest weighted mean of K vectors, none of them above `cap`.

    Minimises ‖Σ_k w_k v_k‖ over Σ w = 1, 0 ≤ w_k ≤ cap by a primal active-set method: exact up to rounding
    for any K, in about K small linear systems. Where several weightings do equally well, as for identical
    vectors, it returns one of them. No gradient flows through the weights.

    Args:
      vectors: v_k.
      cap: the largest weight; below 1/K it counts as 1/K.

    Source: Nocedal and Wright, "Numerical optimization", algorithm 16.3.
    """
    vectors = jax.lax.stop_gradient(vectors)
    count = len(vectors)
    cap = max(cap, 1 / count)
    gram = jnp.matmul(vectors, vectors.T, precision=jax.lax.Precision.HIGHEST)
    largest = jnp.abs(gram).max()
    gram = gram / jnp.where(largest > 0, largest, 1.0)
    rounding = jnp.finfo(gram.dtype).eps

    def face_step(weights, free):
        """The step to the minimum over the free weights, their sum kept, and the multiplier of the sum."""
        both_free = free[:, None] & free[None, :]
        # Where vectors depend on each other a face has many minima: the rounding added here picks one.
        block = jnp.where(both_free, gram, 0.0) + jnp.diag(jnp.where(free, rounding, 1.0))
        ones = free.astype(gram.dtype)
        system = jnp.block([[block, ones[:, None]], [ones[None, :], jnp.zeros((1, 1), gram.dtype)]])
        solution = jnp.linalg.solve(system, jnp.append(-ones * (gram @ weights), 0.0))
        return solution[:-1], solution[-1]

    def iterate(state):
        weights, free, _, iteration = state
        step, multiplier = face_step(weights, free)
        room = jnp.where(step > 0, cap - weights, weights)
        moving = free & (jnp.abs(step) > rounding)
        lengths = jnp.where(moving, room / jnp.where(moving, jnp.abs(step), 1.0), jnp.inf)
        first = jnp.argmin(lengths)
        blocked = lengths[first] < 1
        weights = jnp.clip(weights + jnp.minimum(lengths[first], 1.0) * step, 0.0, cap)
        bound = jnp.where(step[first] > 0, cap, 0.0)
        weights = weights.at[first].set(jnp.where(blocked, bound, weights[first]))
        # At the minimum over a face the bound that costs most is given up; where none costs, this is the end.
        slope = gram @ weights + multiplier
        cost = jnp.where(free, -jnp.inf, jnp.where(weights > 0, slope, -slope))
        worst = jnp.argmax(cost)
        release = ~blocked & (cost[worst] > 10 * count * rounding)
        free = free.at[first].set(free[first] & ~blocked)
        free = free.at[worst].set(free[worst] | release)
        return weights, free, ~blocked & ~release, iteration + 1

    def unfinished(state):
        _, _, done, iteration = state
        return ~done & (iteration < 10 * count)

    start = (
        jnp.full(count, 1 / count, gram.dtype),
        jnp.ones(count, bool),
        jnp.zeros((), bool),
        jnp.zeros((), int),
    )
    return jax.lax.while_loop(unfinished, iterate, start)[0]


def _less_for_more(costs: Float[Array, "teachers batch"]) -> Float[Array, "teachers batch"]:
    teachers = len(costs)
    return (1 - jax.nn.softmax(costs, axis=0)) / (teachers - 1) if teachers > 1 else jnp.ones_like(costs)


def _entropy(logits: Float[Array, "... classes"]) -> Float[Array, "..."]:
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, axis=-1)
