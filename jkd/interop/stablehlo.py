"""StableHLO files by `jax.export`: run by jax alone, on CPU, CUDA and TPU.

```python
run = jax.export.deserialize(bytearray(open("student.stablehlo", "rb").read())).call
logits = run(images)
```
jax promises to read such a file for six months after the version that wrote it; longer is luck.
"""

from pathlib import Path
from typing import Any

import jax
from jax import export

from jkd.errors import UserError
from jkd.interop.program import Program, Run

PLATFORMS = ("cpu", "cuda", "tpu")


def save(path: Path, program: Program) -> None:
    """Writes a program, its variables in it as constants.

    Raises:
        UserError: it cannot be traced for a number of images that is not known.
    """
    batch: Any = program.batch_size
    if batch is None:
        (batch,) = export.symbolic_shape("batch")
    made = jax.jit(program.of_images)
    try:
        exported = export.export(made, platforms=PLATFORMS)(program.signature(batch))
    except Exception as error:  # of many kinds, wherever a network asks how many images there are
        if program.batch_size is not None:
            raise
        raise UserError(
            f"the network does not take batches of any size ({type(error).__name__}): give --batch-size=N"
        ) from error
    path.write_bytes(exported.serialize())


def load(path: Path) -> Run:
    """Reads what `save` wrote."""
    return jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
