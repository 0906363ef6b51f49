"""GPAC: joint guidance of probe and adaptive corrector (Neural Networks 164:345-356, 2023).

Given by the paper's abstract: teachers are evaluated by the accuracy of linear classifier probes, by which
the student selects better ones in the middle layer; instructional weights emphasise the direction that the
student predicts in and ease its learning, and each teacher forms its guidance by its KL divergence from the
student; the spatial-attention loss is adjusted by a piecewise function of the epochs, in three levels.

Ours, because the abstract does not say:
- A probe is a logistic regression (scikit-learn's, L2 with C = 1) on a stage's averaged features, each
  standardised, of the teacher in evaluation mode. It is fitted once, before distillation, on the training
  images without a stratified part (--held-out), and rated on that part. Neither teachers nor student learn
  from it (with --held-out-from=users, as in published tables, both do).
- Stages are all feature maps but the stem's. Where student and teacher have not the same number of them, they
  are matched by relative depth: first to first, last to last, evenly in between.
- Each of the student's stages has a teacher of its own: the one with the most accurate matching stage, of
  equal ones the first.
- Loss: CE + α Σ_k w_k KD_k + β · level · Σ_stages ‖A_s − A_k‖², w by `jkd.weighting.gpac_corrector`; with
  `--corrector=class` each class's part of KD_k has a weight of its own (`gpac_class_corrector`). A is
  the channels' mean square at each position of a stage, divided by its norm, of the student and of the
  selected teacher. The squared distance is not averaged over positions, so that β means the same for small
  images as for large.
- The attention level is 1 until a third of training is done, 0.5 until two thirds, then 0.1.
"""

import warnings
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jkd.flags import Flag
from jkd.losses.features import attention
from jkd.losses.logits import kd_by_class
from jkd.methods.base import Batch, Examples, Loss, Method, Preparation, TeacherOutputs, Variables
from jkd.methods.parts import StandardiseLogits, kd_distances, logits_for_kd, stacked_logits, weight_metrics
from jkd.methods.scratch import cross_entropy
from jkd.models import Outputs
from jkd.weighting import gpac_class_corrector, gpac_corrector

LEVELS = (1.0, 0.5, 0.1)


def attention_level(progress: float | Float[Array, ""]) -> Float[Array, ""]:
    """Returns the factor of the attention loss after the fraction `progress` of training."""
    third = (progress >= 1 / 3) + jnp.asarray(progress >= 2 / 3, int)
    return jnp.asarray(LEVELS)[third]


def matching_stage(stage: int, stages: int, others: int) -> int:
    """Returns which of `others` stages is at the relative depth of `stage` among `stages`, all from 0."""
    if stages == 1:
        return others - 1
    return (2 * stage * (others - 1) + stages - 1) // (2 * (stages - 1))


def gpac(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    standardise_logits: StandardiseLogits = False,
    weight_temperature: Annotated[
        float, Flag("τ: the larger, the more alike the teachers' weights", above=0)
    ] = 1.0,
    corrector: Annotated[
        Literal["example", "class"],
        Flag("what the corrector weighs teachers for: each example or each class of it"),
    ] = "example",
    alpha: Annotated[float, Flag("coefficient α of the weighted KD", at_least=0, tune=(0.3, 1.0, 3.0))] = 1.0,
    beta: Annotated[
        float,
        Flag("coefficient β of the attention at its first level", at_least=0, tune=(3.0, 10.0, 30.0)),
    ] = 10.0,
    probe_iterations: Annotated[int, Flag("L-BFGS iterations of a probe at most", at_least=1)] = 100,
) -> Method:
    """CE + α Σ_k w_k KD_k + β · level · Σ_stages attention to the teacher whose probe is the best."""

    def init(key, student: Outputs, teachers: tuple[TeacherOutputs, ...]) -> Variables:
        del key
        shape = len(student.features) - 1, len(teachers)
        # Until the probes have selected, all teachers alike.
        return Variables(state=jnp.full(shape, 1 / len(teachers)))

    def loss(
        variables: Variables, student: Outputs, teachers: tuple[TeacherOutputs, ...], batch: Batch, progress
    ) -> Loss:
        selection: Float[Array, "stages teachers"] = variables.state
        ce = cross_entropy(student, batch)
        weighed = student.logits, stacked_logits(teachers), batch.labels, temperature, weight_temperature
        seen = logits_for_kd(student, teachers, standardise_logits)
        if corrector == "class":
            by_class = gpac_class_corrector(*weighed)
            parts = jax.vmap(kd_by_class, in_axes=(None, 0, None))
            divergences = parts(seen[0].logits, stacked_logits(seen[1]), temperature)
            weighted_kd = (by_class * divergences).sum((0, 2)).mean()
            weights = by_class.mean(-1)
        else:
            weights = gpac_corrector(*weighed)
            weighted_kd = (weights * kd_distances(*seen, temperature)).sum(0).mean()
        distances = jnp.stack([jnp.stack(row).mean(1) for row in _attention(student, teachers)])
        selected = jnp.vdot(selection, distances)
        level = attention_level(progress)
        metrics = {"ce": ce, "kd": weighted_kd, "attention": selected, "attention_level": level}
        return Loss(
            ce + alpha * weighted_kd + beta * level * selected,
            metrics | weight_metrics("logits", weights, batch.labels, student.logits.shape[-1]),
            selection,
        )

    def prepare(
        selection: Float[Array, "stages teachers"],
        names: tuple[str, ...],
        train: Examples,
        held_out: Examples,
    ) -> Preparation:
        stages = len(selection)
        accuracy: list[list[float]] = []
        probes: dict[str, np.ndarray] = {}
        features = zip(train.observe(_averaged), held_out.observe(_averaged), strict=True)
        for k, (seen, unseen) in enumerate(features):
            accuracy.append([])
            for i, (inputs, others) in enumerate(zip(seen, unseen, strict=True), start=1):
                probe = fit_probe(inputs, train.labels, probe_iterations)
                accuracy[k].append(probe.score(others, held_out.labels))
                probes |= {f"teacher{k}_stage{i}_{name}": x for name, x in _linear(probe).items()}
        rated = [[row[matching_stage(i, stages, len(row))] for row in accuracy] for i in range(stages)]
        selected = np.argmax(rated, axis=1)
        report = {
            "probes": [{"teacher": n, "accuracy": row} for n, row in zip(names, accuracy, strict=True)],
            "selected": [names[k] for k in selected],
        }
        state = np.eye(len(names), dtype=np.float32)[selected]
        return Preparation(state, report, _text(report, len(held_out.labels)), probes)

    return Method(init, loss, prepare=prepare)


def fit_probe(
    features: Float[np.ndarray, "examples channels"], labels: Int[np.ndarray, " examples"], iterations: int
) -> Any:
    """Returns a linear classifier of standardised features: scikit-learn's, fitted."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=iterations))
    with warnings.catch_warnings():
        # To be ranked a probe need not be at its optimum.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(features, labels)


def _linear(probe: Any) -> dict[str, np.ndarray]:
    """Returns a probe as one linear layer, of features as they are."""
    scaler, regression = (step for _, step in probe.steps)
    kernel = (regression.coef_ / scaler.scale_).T
    return {"kernel": kernel, "bias": regression.intercept_ - scaler.mean_ @ kernel}


def _averaged(teacher: TeacherOutputs) -> tuple[Float[Array, "batch channels"], ...]:
    return tuple(x.mean((1, 2)) for x in teacher.features[1:])


def _attention(student: Outputs, teachers: tuple[TeacherOutputs, ...]) -> list[list[Float[Array, " batch"]]]:
    """Returns, for each of the student's stages and each teacher, ‖A_s − A_k‖² with the matching stage."""

    def distance(a: Array, b: Array) -> Float[Array, " batch"]:
        positions = min(a.shape[1], b.shape[1]) * min(a.shape[2], b.shape[2])
        return positions * attention(a, b)

    ours = student.features[1:]
    return [
        [distance(x, t.features[1:][matching_stage(i, len(ours), len(t.features) - 1)]) for t in teachers]
        for i, x in enumerate(ours)
    ]


def _text(report: dict[str, Any], images: int) -> str:
    width = max(len(row["teacher"]) for row in report["probes"])
    rows = [
        f"  {row['teacher']:<{width}}  " + "  ".join(f"{value:7.2%}" for value in row["accuracy"])
        for row in report["probes"]
    ]
    chosen = ", ".join(f"{i} from {name}" for i, name in enumerate(report["selected"], start=1))
    return "\n".join(
        [
            f"probes of the teachers' stages (accuracy on {images:,} held-out images):",
            *rows,
            f"  the student's stages learn: {chosen}",
        ]
    )
