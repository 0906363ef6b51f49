"""Any combination of kinds of knowledge with a weighting, by name: CE + Σ_j λ_j Σ_k w_k · d_jk.

The parts are those of the published methods (`jkd.methods.parts`), the sum is ours: one weighting for all
kinds of knowledge, whose weights sum to one on each example whichever it is. `--knowledge=kd,features
--weighting=confidence` is therefore not CA-MKD, which weighs features by the teachers' own classifiers, and
`demkd` is the softmax of the entropies at temperature 1 (`ebkd`, their ratio, is what DE-MKD has by default).

Controls among them: `best` is the teacher that is most accurate on images held out from training (those of
--held-out, never test images), alone; `random` draws fixed weights from the seed once, any point of the
simplex as likely as any other; `given` takes them from --shares; `dropping` is UNIC's. `ensemble_kd` takes
all teachers for one.
--teacher-maps brings the teachers' last maps to one scale before any knowledge sees them: divided by their
root mean square over the batch (`unit`), each channel (`standardised`, as UNIC does), or by PHI-S. The
statistics of the last two are of the same held-out images, and regressors then end without a ReLU; the run
says what the raw maps' mean squares were (1.2, with variance 0.9, of ResNet-20 on 20 classes of CIFAR-100).
"""

import math
from typing import Annotated

from jkd.errors import UserError, nearest
from jkd.flags import Flag
from jkd.methods.base import Method
from jkd.methods.parts import KNOWLEDGE, WEIGHTING, StandardiseLogits, Weighting, combine
from jkd.methods.prepared import BEST, MAPS, RANDOM, Remembered, dropping, given

_SCALES = "The coefficient λ of each kind of knowledge"
# Those of each kind's own paper or of RepDistiller, where it is used alone; the alignment's is BOMD's.
_DEFAULTS = {
    "kd": 1.0,
    "ensemble_kd": 1.0,
    "target_kd": 1.0,
    "nontarget_kd": 8.0,
    "features": 100.0,
    "alignment": 100.0,
    "attention": 1000.0,
    "similarity": 3000.0,
    "distance": 25.0,
    "angle": 50.0,
}


def distill(
    *,
    knowledge: Annotated[tuple[str, ...], Flag(f"what is matched, any of {', '.join(KNOWLEDGE)}")] = ("kd",),
    weighting: Annotated[
        str, Flag("who is listened to", choices=(*WEIGHTING, "best", "random", "given", "dropping"))
    ] = "uniform",
    shares: Annotated[
        tuple[float, ...],
        Flag("with --weighting=given: a number for each teacher that its weight is in proportion to"),
    ] = (),
    drop_probability: Annotated[
        float | None,
        Flag(
            "with --weighting=dropping: of each teacher but the furthest",
            at_least=0,
            at_most=1,
            default="0.5",
        ),
    ] = None,
    teacher_maps: Annotated[
        str, Flag("the scale of the teachers' last maps, each teacher's by itself", choices=MAPS)
    ] = "raw",
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    lambda_kd: Annotated[
        float | None, Flag("KD", at_least=0, group=_SCALES, default=str(_DEFAULTS["kd"]))
    ] = None,
    lambda_ensemble_kd: Annotated[
        float | None,
        Flag(
            "KD from the mean of the teachers' probabilities as one teacher",
            at_least=0,
            group=_SCALES,
            default=str(_DEFAULTS["ensemble_kd"]),
        ),
    ] = None,
    lambda_target_kd: Annotated[
        float | None,
        Flag("target-class part of KD", at_least=0, group=_SCALES, default=str(_DEFAULTS["target_kd"])),
    ] = None,
    lambda_nontarget_kd: Annotated[
        float | None,
        Flag(
            "non-target-class part of KD", at_least=0, group=_SCALES, default=str(_DEFAULTS["nontarget_kd"])
        ),
    ] = None,
    lambda_features: Annotated[
        float | None,
        Flag(
            "squared errors of regressed last maps",
            at_least=0,
            group=_SCALES,
            default=str(_DEFAULTS["features"]),
        ),
    ] = None,
    lambda_alignment: Annotated[
        float | None,
        Flag(
            "directions of orthogonally projected last maps",
            at_least=0,
            group=_SCALES,
            default=str(_DEFAULTS["alignment"]),
        ),
    ] = None,
    lambda_attention: Annotated[
        float | None,
        Flag("attention maps of last maps", at_least=0, group=_SCALES, default=str(_DEFAULTS["attention"])),
    ] = None,
    lambda_similarity: Annotated[
        float | None,
        Flag(
            "similarities of examples by last maps",
            at_least=0,
            group=_SCALES,
            default=str(_DEFAULTS["similarity"]),
        ),
    ] = None,
    lambda_distance: Annotated[
        float | None,
        Flag(
            "distances between embeddings of examples",
            at_least=0,
            group=_SCALES,
            default=str(_DEFAULTS["distance"]),
        ),
    ] = None,
    lambda_angle: Annotated[
        float | None,
        Flag(
            "angles among embeddings of examples", at_least=0, group=_SCALES, default=str(_DEFAULTS["angle"])
        ),
    ] = None,
    standardise_logits: StandardiseLogits = False,
) -> Method:
    """CE + Σ_j λ_j Σ_k w_k d_jk, for any kinds of knowledge d_j and any weighting w."""
    scales = {
        "kd": lambda_kd,
        "ensemble_kd": lambda_ensemble_kd,
        "target_kd": lambda_target_kd,
        "nontarget_kd": lambda_nontarget_kd,
        "features": lambda_features,
        "alignment": lambda_alignment,
        "attention": lambda_attention,
        "similarity": lambda_similarity,
        "distance": lambda_distance,
        "angle": lambda_angle,
    }
    given = ",".join(knowledge)
    there = ", ".join(KNOWLEDGE)
    if not knowledge:
        raise UserError(f"--knowledge= names nothing to match; choose from {there}")
    for name in knowledge:
        if name not in KNOWLEDGE:
            raise UserError(
                f"--knowledge={given}: there is no '{name}'{nearest(name, KNOWLEDGE)}; choose from {there}"
            )
    for name, scale in scales.items():
        if scale is not None and name not in knowledge:
            raise UserError(
                f"--lambda-{name.replace('_', '-')}={scale} has nothing to scale: "
                f"--knowledge={given} does not name {name}"
            )
    given_scales = {name: scale for name, scale in scales.items() if scale is not None}
    chosen = {name: given_scales.get(name, _DEFAULTS[name]) for name in knowledge}
    return combine(
        chosen, _weighting(weighting, shares, drop_probability), temperature, standardise_logits, teacher_maps
    )


def _weighting(
    name: str, shares: tuple[float, ...], drop_probability: float | None
) -> Weighting | Remembered:
    if (name == "given") != bool(shares):
        raise UserError(
            f"--weighting={name} with --shares={','.join(map(str, shares))}: "
            "--weighting=given needs --shares, such as 1,0,1, and no other takes it"
        )
    if shares and (min(shares) < 0 or not 0 < sum(shares) < math.inf):
        raise UserError(
            f"--shares={','.join(map(str, shares))}: none may be negative, and one must be above 0"
        )
    if drop_probability is not None and name != "dropping":
        raise UserError(f"--drop-probability={drop_probability} belongs to --weighting=dropping, not {name}")
    if name == "given":
        return given(shares)
    if name == "dropping":
        return dropping(0.5 if drop_probability is None else drop_probability)
    return {"best": BEST, "random": RANDOM}.get(name) or WEIGHTING[name]
