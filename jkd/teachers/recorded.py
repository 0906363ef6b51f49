"""Teachers that are not here: what they say of views is kept, with their heads and test logits."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jkd.machine import archive
from jkd.methods.base import TeacherOutputs
from jkd.models import Absent, Head, Outputs
from jkd.steps.asking import TeacherNetwork
from jkd.teachers import about as folders
from jkd.teachers.shapes import from_shapes, shapes
from jkd.teachers.teacher import Teacher, TrainedOn


@dataclasses.dataclass(frozen=True, eq=False)
class Recorded(Teacher):
    """A teacher whose variables are its head alone; of other images than the views' it says NaN.

    Attributes:
        described: What it is, as its folder's `of` has it.
        identity: What it is, as the configuration of a run has it.
        test_logits: Its logits for the test images.
    """

    described: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    identity: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    test_logits: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """That of the variables which it had."""
        return self.described["weights"]


def read(folder: Path) -> list[Recorded]:
    """Returns the teachers of a folder of outputs.

    Raises:
        UserError: It is none, or damaged.
    """
    about = folders.read(folder)
    path = folder / "teachers.npz"
    found = []
    try:
        arrays = archive.read(path)
        for number, row in enumerate(about["teachers"]):
            form = from_shapes(row["outputs"], row["name"], 1)
            head: Any = form.head
            if isinstance(head, Head):
                head = Head(*(jnp.asarray(arrays[f"{number}.{leaf}"]) for leaf in Head._fields))
            seen = row["trained_on"]
            found.append(
                Recorded(
                    partial(_silent, form),
                    head,
                    row["name"],
                    head=_itself,
                    accuracy=row["accuracy"],
                    trained_on=TrainedOn(**seen) if seen else None,
                    described=about["of"]["teachers"][str(number)],
                    identity=row["identity"],
                    test_logits=arrays[f"{number}.test"],
                )
            )
    except (archive.Unreadable, OSError, KeyError) as error:
        raise folders.damaged(path, error) from error
    return found


def record(
    teachers: Sequence[Teacher], outputs: tuple[TeacherOutputs, ...], test_logits: Sequence[np.ndarray]
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Returns what is to be known of teachers to use their outputs without them: rows, and arrays.

    Args:
        teachers: The teachers.
        outputs: The signatures of what each gives for a batch.
        test_logits: Their logits for the test images.
    """
    rows, arrays = [], {}
    for number, (teacher, form, logits) in enumerate(zip(teachers, outputs, test_logits, strict=True)):
        seen = teacher.trained_on
        rows.append(
            {
                "name": teacher.name,
                "accuracy": teacher.accuracy,
                "trained_on": seen._asdict() if seen else None,
                "outputs": shapes(form),
            }
        )
        arrays[f"{number}.test"] = logits
        if teacher.head is not None and not isinstance(head := teacher.head(teacher.variables), Absent):
            arrays |= {f"{number}.{leaf}": np.asarray(array) for leaf, array in head._asdict().items()}
    return rows, arrays


def silent(form: TeacherOutputs) -> TeacherNetwork:
    """Returns a network without variables but its head, for programs that hold no teacher."""
    return TeacherNetwork(partial(_silent, form), _itself)


def _silent(form: TeacherOutputs, head: PyTree, images: Float[Array, "b h w c"]) -> Outputs:
    # Its shapes are asked for; if its numbers ever were, no loss would be finite.
    del head
    outputs = Outputs(form.logits, form.features, form.embedding)
    return jax.tree.map(lambda x: jnp.full((len(images), *x.shape[1:]), jnp.nan, x.dtype), outputs)


def _itself(head: Head) -> Head:
    return head
