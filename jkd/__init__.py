"""Multi-teacher knowledge distillation in JAX and Flax, with functional bi-level optimisation.

```python
student = jkd.distil("bomd", dataset="digits", teachers=["resnet14", "wrn_16_1"], student="resnet8", epochs=5)
student.predict(images)
student = jkd.load("runs/...")
table = jkd.compare(["aver", "bomd"], seeds=[0, 1, 2], dataset="digits")
```

The losses are in `jkd.losses`, the manifold in `jkd.stiefel`, hypergradients in `jkd.bilevel`.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# What the front door offers, and the room it is in. Imported when it is asked for, so that
# `import jkd.stiefel` does not bring everything.
_ROOMS = {
    "distil": "jkd.front",
    "plan": "jkd.front",
    "compare": "jkd.front",
    "load": "jkd.distillation.student",
    "Student": "jkd.distillation.student",
    "Experiment": "jkd.planning.experiment",
    "Plan": "jkd.planning.plan",
    "Teacher": "jkd.teachers",
    "Data": "jkd.data",
    "UserError": "jkd.errors",
    "Interrupted": "jkd.machine.process",
    "Diverged": "jkd.training.loop",
    **{
        room: f"jkd.{room}"
        for room in ("bilevel", "data", "losses", "methods", "models", "stiefel", "teachers")
    },
}

if TYPE_CHECKING:
    from jkd import bilevel, data, losses, methods, models, stiefel, teachers
    from jkd.data import Data
    from jkd.distillation.student import Student, load
    from jkd.errors import UserError
    from jkd.front import compare, distil, plan
    from jkd.machine.process import Interrupted
    from jkd.planning.experiment import Experiment
    from jkd.planning.plan import Plan
    from jkd.teachers import Teacher
    from jkd.training.together import Diverged

__all__ = [
    "Data",
    "Diverged",
    "Experiment",
    "Interrupted",
    "Plan",
    "Student",
    "Teacher",
    "UserError",
    "bilevel",
    "compare",
    "data",
    "distil",
    "load",
    "losses",
    "methods",
    "models",
    "plan",
    "stiefel",
    "teachers",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'jkd' has no attribute '{name}'")
    module = importlib.import_module(_ROOMS[name])
    return module if _ROOMS[name] == f"jkd.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
