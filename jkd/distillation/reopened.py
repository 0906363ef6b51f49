"""What an exported file computes when it is read back, beside what the student does."""

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, UInt8

from jkd.data.augment import standardise
from jkd.distillation.formats import Wish
from jkd.interop.program import Run

if TYPE_CHECKING:
    from jkd.distillation.student import Student

_BATCH = 250  # images in a call, where that is free

Images = UInt8[np.ndarray, "images h w c"]
Logits = Float[np.ndarray, "images classes"]


def logits_of(run: Run, student: "Student", wish: Wish, images: Images) -> Logits:
    """Returns what a program gives for images, in the form that it takes."""
    size, parts = wish.batch_size or _BATCH, []
    for start in range(0, len(images), size):
        batch = images[start : start + size]
        count = len(batch)
        if wish.batch_size:  # the last one is filled up
            batch = np.concatenate([batch, np.repeat(batch[-1:], size - count, 0)])
        parts.append(np.asarray(run(as_taken(batch, student, wish.preprocess)))[:count])
    return np.concatenate(parts)


def as_taken(images: Images, student: "Student", preprocess: bool) -> np.ndarray:
    """Returns images as the export takes them."""
    spec = student.config["dataset"]
    return images if preprocess else np.asarray(standardise(jnp.asarray(images), spec["mean"], spec["std"]))


def compared(
    logits: Logits,
    reference: Logits,
    labels: Int[np.ndarray, " images"],
) -> dict[str, Any]:
    """Returns how a program's logits compare with the student's in jkd; see `Exported`."""
    ours, theirs = reference.argmax(1), logits.argmax(1)
    return {
        "images": len(labels),
        "difference": float(np.abs(logits - reference).max() / np.abs(reference).max()),
        "agreement": float(np.mean(ours == theirs)),
        "top1": float(np.mean(theirs == labels)),
        "student_top1": float(np.mean(ours == labels)),
    }
