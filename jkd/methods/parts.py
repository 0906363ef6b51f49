"""The parts that methods are made of: `KNOWLEDGE`, what is matched, and `WEIGHTING`, who is listened to.

A method that is a pair of the two is `combine(coefficients, weighting, temperature)`: the loss
CE + Σ_j λ_j Σ_k w_k · d_jk. One that has more of its own takes the parts that it shares from here.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from jkd import stiefel, weighting
from jkd.flags import Flag
from jkd.losses import features, logits, relations
from jkd.methods.base import (
    Batch,
    Loss,
    Method,
    Metrics,
    TeacherOutputs,
    Variables,
)
from jkd.methods.prepared import (
    FOUND_MAPS,
    Distances,
    Remembered,
    Teachers,
    Weights,
    init_maps,
    preparation,
    with_maps,
)
from jkd.methods.projections import alignment_distances, init_projections
from jkd.methods.regressors import feature_errors, init_regressors
from jkd.methods.scratch import cross_entropy
from jkd.models import Outputs


class Knowledge(NamedTuple):
    """What is matched.

    `distances(params, student, teachers, batch, temperature)` gives d_k of each example. Where maps are
    learned for it, `init(key, student, teachers)` gives their parameters, and `optimizer(rate, momentum)`
    their optimizer if it is not the student's.
    """

    distances: Callable[[PyTree, Outputs, Teachers, Batch, float], Distances]
    init: Callable[[PRNGKeyArray, Outputs, Teachers], PyTree] | None = None
    optimizer: Callable[[optax.Schedule, float], optax.GradientTransformation] | None = None


StandardiseLogits = Annotated[
    bool,
    Flag("KD of each example's standardised logits (Sun et al. 2024; with T 2 or 3 and a larger weight)"),
]
"""A setting of every method with KD."""


def logits_for_kd(student: Outputs, teachers: Teachers, standardised: bool) -> tuple[Outputs, Teachers]:
    """Returns student and teachers with their logits as KD sees them: as they are, or standardised."""
    if not standardised:
        return student, teachers
    seen = tuple(teacher._replace(logits=logits.standardise(teacher.logits)) for teacher in teachers)
    return student._replace(logits=logits.standardise(student.logits)), seen


def kd_distances(student: Outputs, teachers: Teachers, temperature: float) -> Distances:
    """Returns KD_k of each example."""
    return jax.vmap(logits.kd, in_axes=(None, 0, None))(student.logits, stacked_logits(teachers), temperature)


def stacked_logits(teachers: Teachers) -> Float[Array, "teachers batch classes"]:
    """Returns all teachers' logits as the weightings take them."""
    return jnp.stack([teacher.logits for teacher in teachers])


def _decoupled(part: int) -> Callable[..., Distances]:
    def distances(params, student: Outputs, teachers: Teachers, batch: Batch, temperature: float):
        del params
        return jax.vmap(logits.decoupled_kd, in_axes=(None, 0, None, None))(
            student.logits, stacked_logits(teachers), batch.labels, temperature
        )[part]

    return distances


def _from_ensemble(
    params, student: Outputs, teachers: Teachers, batch: Batch, temperature: float
) -> Distances:
    """KD from the mean of all teachers' probabilities as one teacher: the same for each, whoever is weighed.

    Averaged at temperature T, its gradient would be that of the mean KD: Σ_k KL(p_k ‖ q)/K and
    KL(mean p ‖ q) differ by what q is not in. So it is averaged at temperature 1, as an ensemble predicts,
    and then softened.
    """
    del params, batch
    together = jax.nn.logsumexp(jax.nn.log_softmax(stacked_logits(teachers)), axis=0)
    distances = logits.kd(student.logits, together, temperature)
    return jnp.broadcast_to(distances, (len(teachers), *distances.shape))


def _between(of: Callable[..., Array], loss: Callable[[Array, Array], Array]) -> Callable[..., Distances]:
    """The distances by `loss` between what `of` takes from the student's outputs and from a teacher's."""

    def distances(params, student: Outputs, teachers: Teachers, batch: Batch, temperature: float):
        del params, batch, temperature
        return jnp.stack([loss(of(student), of(teacher)) for teacher in teachers])

    return distances


def _last_map(outputs: Outputs | TeacherOutputs) -> Array:
    return outputs.features[-1]


def _embedding(outputs: Outputs | TeacherOutputs) -> Array:
    return outputs.embedding


KNOWLEDGE: dict[str, Knowledge] = {
    "kd": Knowledge(lambda params, student, teachers, batch, t: kd_distances(student, teachers, t)),
    "target_kd": Knowledge(_decoupled(0)),
    "nontarget_kd": Knowledge(_decoupled(1)),
    "ensemble_kd": Knowledge(_from_ensemble),
    "features": Knowledge(
        lambda params, student, teachers, batch, t: feature_errors(params, student, teachers),
        init_regressors,
    ),
    "alignment": Knowledge(
        lambda params, student, teachers, batch, t: alignment_distances(params, student, teachers),
        init_projections,
        stiefel.sgd,
    ),
    "attention": Knowledge(_between(_last_map, features.attention)),
    "similarity": Knowledge(_between(_last_map, relations.similarity)),
    "distance": Knowledge(_between(_embedding, relations.distance)),
    "angle": Knowledge(_between(_embedding, relations.angle)),
}

# What takes the place of others where the teachers' maps have been centred.
_SIGNED = {
    "features": Knowledge(
        lambda params, student, teachers, batch, t: feature_errors(params, student, teachers, "signed"),
        init_regressors,
    )
}

# From the student's logits, the teachers', the labels and the temperature to weights.
Weighting = Callable[
    [Float[Array, "batch classes"], Float[Array, "teachers batch classes"], Int[Array, " batch"], float],
    Weights,
]

# The weights of an example sum to one in all of these, so that a coefficient means the same with each.
WEIGHTING: dict[str, Weighting] = {
    "uniform": lambda s, t, labels, temperature: weighting.uniform(t),
    "ebkd": lambda s, t, labels, temperature: weighting.ebkd_entropy(t) / max(len(t) - 1, 1),
    "demkd": lambda s, t, labels, temperature: weighting.demkd_entropy(t, form="softmax"),
    "confidence": lambda s, t, labels, temperature: weighting.confidence(t, labels),
    "consensus": lambda s, t, labels, temperature: weighting.gradient_consensus(s, t, temperature),
    "corrector": weighting.gpac_corrector,
}


Coefficient = float | Callable[[Float[Array, ""]], Float[Array, ""]]  # a number, or one for each `progress`


def combine(
    coefficients: Mapping[str, Coefficient],
    weigh: Weighting | Remembered,
    temperature: float,
    standardise_logits: bool = False,
    teacher_maps: str = "raw",
) -> Method:
    """Returns the method CE + Σ_j λ_j Σ_k w_k · d_jk, averaged over the batch.

    Args:
        coefficients: λ_j of each kind of knowledge, by its name in `KNOWLEDGE`.
        weigh: gives w_k of each example, such as one of `WEIGHTING`, or remembers something to do it by.
        temperature: T of the kinds of knowledge and of the weightings that have one.
        standardise_logits: whether KD is of standardised logits; weights are of the logits as they are.
        teacher_maps: the scale of the teachers' last maps, one of `jkd.methods.prepared.MAPS`.
    """
    knowledge_of = KNOWLEDGE | _SIGNED if teacher_maps in FOUND_MAPS else KNOWLEDGE
    known = {name: knowledge_of[name] for name in coefficients}
    learned = {name: make for name, knowledge in known.items() if (make := knowledge.init)}
    special = {name: rule for name, knowledge in known.items() if (rule := knowledge.optimizer)}
    remembered = weigh if isinstance(weigh, Remembered) else None

    def init(key: PRNGKeyArray, student: Outputs, teachers: Teachers) -> Variables:
        keys = dict(zip(learned, jax.random.split(key, len(learned)) if learned else (), strict=True))
        params = {name: make(keys[name], student, teachers) for name, make in learned.items()}
        state: dict[str, PyTree] = {}
        if remembered:
            state["weighting"] = remembered.init(jax.random.fold_in(key, 1), len(teachers))
        if teacher_maps in FOUND_MAPS:
            state["maps"] = init_maps(teachers)
        return Variables(params or (), state or ())

    def loss(variables: Variables, student: Outputs, teachers: Teachers, batch: Batch, progress) -> Loss:
        scales = {n: c(progress) if callable(c) else c for n, c in coefficients.items()}
        ce = cross_entropy(student, batch)
        params, state = dict(variables.params), dict(variables.state)
        seen_student, seen = logits_for_kd(student, teachers, standardise_logits)
        seen = with_maps(teacher_maps, state.get("maps", ()), seen)
        distances = {
            name: knowledge.distances(params.get(name), seen_student, seen, batch, temperature)
            for name, knowledge in known.items()
        }
        if isinstance(weigh, Remembered):
            losses = sum((scales[n] * distances[n] for n in known), start=jnp.zeros(()))
            weights, state["weighting"] = weigh.weigh(state["weighting"], jax.lax.stop_gradient(losses))
        else:
            weights = weigh(student.logits, stacked_logits(teachers), batch.labels, temperature)
        terms = {name: (weights * distance).sum(0).mean() for name, distance in distances.items()}
        total = ce
        for name, scale in scales.items():
            total += scale * terms[name]
        metrics = weight_metrics("logits", weights, batch.labels, student.logits.shape[-1])
        return Loss(total, {"ce": ce} | terms | metrics, state or ())

    def optimizer(students: optax.GradientTransformation, rate: optax.Schedule, momentum: float):
        own = {name: rule(rate, momentum) for name, rule in special.items()}
        return optax.partition(
            own | {"student": students}, {name: name if name in own else "student" for name in learned}
        )

    prepare = preparation(remembered, teacher_maps)
    count = remembered.teachers if remembered else None
    own = optimizer if special else None
    return Method(init, loss, optimizer=own, prepare=prepare, number_of_teachers=count)


def weight_metrics(of: str, weights: Weights, labels: Int[Array, " batch"], classes: int) -> Metrics:
    """Returns who is listened to in a batch, as it is logged.

    Mean and deviation over the batch of each teacher's weight, and `[teachers, classes]`, how much of the
    mean is owed to examples of each class: averaged over an epoch and divided by its sum over the teachers
    it is the share that a teacher has of a class (`jkd.report.listening`).
    """
    is_of_class = jax.nn.one_hot(labels, classes, dtype=weights.dtype)
    by_class = jnp.matmul(weights, is_of_class, precision=jax.lax.Precision.HIGHEST) / len(labels)
    return {
        f"weight_{of}": weights.mean(1),
        f"weight_{of}_std": weights.std(1),
        f"class_weight_{of}": by_class,
    }
