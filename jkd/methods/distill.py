"""Any combination of kinds of knowledge with a weighting, by name: CE + Σ_j λ_j Σ_k w_k · d_jk.

The parts are those of the published methods (`jkd.methods.parts`), the sum is ours: one weighting for all
kinds of knowledge, whose weights sum to one on each example whichever it is. `--knowledge=kd,features
--weighting=confidence` is therefore not CA-MKD, which weighs features by the teachers' own classifiers.

The default λ are those of each kind's own paper or of RepDistiller, where it is used alone.
"""

from typing import Annotated

from jkd.errors import UserError, nearest
from jkd.flags import Flag
from jkd.methods.base import Method
from jkd.methods.parts import KNOWLEDGE, WEIGHTING, combine

_SCALES = "The coefficient λ of each kind of knowledge"


def distill(
    *,
    knowledge: Annotated[tuple[str, ...], Flag(f"what is matched, any of {', '.join(KNOWLEDGE)}")] = ("kd",),
    weighting: Annotated[str, Flag("who is listened to", choices=tuple(WEIGHTING))] = "uniform",
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    lambda_kd: Annotated[float, Flag("KD", at_least=0, group=_SCALES)] = 1.0,
    lambda_target_kd: Annotated[float, Flag("target-class part of KD", at_least=0, group=_SCALES)] = 1.0,
    lambda_nontarget_kd: Annotated[
        float, Flag("non-target-class part of KD", at_least=0, group=_SCALES)
    ] = 8.0,
    lambda_features: Annotated[
        float, Flag("squared errors of regressed last maps", at_least=0, group=_SCALES)
    ] = 100.0,
    lambda_alignment: Annotated[
        float, Flag("directions of orthogonally projected last maps", at_least=0, group=_SCALES)
    ] = 1.0,
    lambda_attention: Annotated[
        float, Flag("attention maps of last maps", at_least=0, group=_SCALES)
    ] = 1000.0,
    lambda_similarity: Annotated[
        float, Flag("similarities of examples by last maps", at_least=0, group=_SCALES)
    ] = 3000.0,
    lambda_distance: Annotated[
        float, Flag("distances between embeddings of examples", at_least=0, group=_SCALES)
    ] = 25.0,
    lambda_angle: Annotated[
        float, Flag("angles among embeddings of examples", at_least=0, group=_SCALES)
    ] = 50.0,
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
    return combine({name: scales[name] for name in knowledge}, WEIGHTING[weighting], temperature)
