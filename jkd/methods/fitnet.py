"""FitNet-MKD: AVER, and the last feature map of every teacher as a hint.

Given by the comparison in CA-MKD's published code (github.com/Rorozhl/CA-MKD): the mean over teachers of the
mean squared error between the teacher's map and the student's, carried there by a regressor; coefficient 100.
After Romero et al., "FitNets: hints for thin deep nets", ICLR 2015.

Where that code differs from us: it matches the middle map, by one convolution that also changes the size, and
it averages the hints in a way that passes no gradient on, so that its FitNet-MKD trains as AVER does.

Ours: the last map and the 1×1 regressor, as CA-MKD and MMKD have them.
"""

from typing import Annotated

from jkd.flags import Flag
from jkd.methods.base import Method
from jkd.methods.parts import WEIGHTING, StandardiseLogits, combine


def fitnet(
    *,
    temperature: Annotated[float, Flag("distillation temperature T", above=0)] = 4.0,
    alpha: Annotated[float, Flag("coefficient α of the mean KD", at_least=0)] = 1.0,
    beta: Annotated[
        float, Flag("coefficient β of the mean feature error", at_least=0, tune=(10.0, 30.0, 100.0))
    ] = 100.0,
    standardise_logits: StandardiseLogits = False,
) -> Method:
    """CE + α · mean_k KD_k + β · mean_k mse_k."""
    return combine({"kd": alpha, "features": beta}, WEIGHTING["uniform"], temperature, standardise_logits)
