"""Any combination of kinds of knowledge with a weighting, by name: CE + Σ_j λ_j Σ_k w_k · d_jk.

The parts are those of the published methods (`jkd.methods.parts`), the sum is ours: one weighting for all
kinds of knowledge, whose weights sum to one on each example whichever it is. `--knowledge=kd,features
--weighting=confidence` is therefore not CA-MKD, which weighs features by the teachers' own classifiers.
"""

from typing import Annotated

from jkd.errors import UserError, nearest
from jkd.flags import Flag
from jkd.methods.base import Method
from jkd.methods.parts import KNOWLEDGE, WEIGHTING, StandardiseLogits, combine

_SCALES = "The coefficient λ of each kind of knowledge"
# Those of each kind's own paper or of RepDistiller, where it is used alone; the alignment's is BOMD's.
_DEFAULTS = {
    "kd": 1.0,
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
    weighting: Annotated[str, Flag("who is listened to", choices=tuple(WEIGHTING))] = "uniform",
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    lambda_kd: Annotated[
        float | None, Flag("KD", at_least=0, group=_SCALES, default=str(_DEFAULTS["kd"]))
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
    return combine(chosen, WEIGHTING[weighting], temperature, standardise_logits)
