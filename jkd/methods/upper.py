"""The settings that methods with an upper level share."""

from typing import Annotated

from jkd.bilevel import ESTIMATORS
from jkd.bilevel import Estimator as Name
from jkd.flags import Flag

UPPER = "The method's upper level"
"""The heading in --help."""

Every = Annotated[int, Flag("one upper-level update every so many steps", at_least=1, group=UPPER)]
LearningRate = Annotated[float, Flag("Adam's rate for the upper-level variables", above=0, group=UPPER)]
Estimator = Annotated[Name, Flag("how the hypergradient is computed", choices=tuple(ESTIMATORS), group=UPPER)]
Rematerialise = Annotated[
    bool, Flag("recompute inner steps in the backward sweep: less memory, more time", group=UPPER)
]
