"""What student and teachers said of the test images, once at the end of a run and kept small."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from scipy.special import softmax

from jkd.data import Dataset
from jkd.data.streamed import Streamed, select
from jkd.machine import files
from jkd.steps.evaluate import CALIBRATION_BINS
from jkd.teachers.ratings import Rating

FILE = "tested.json"
_SHOWN = 12  # images of each kind; ours: what a page has room for
_AT_ONCE = 2**20  # probabilities that are there together
_PIXELS = 96  # that a larger image is scaled down to

Logits = Float[np.ndarray, "images classes"]


def keep(folder: Path, dataset: Dataset, logits: Logits, rating: Rating | None) -> None:
    """Writes `tested.json` into a run's folder; see `examine`.

    Args:
        folder: The run's.
        dataset: Whose test images.
        logits: The deployed student's, of these.
        rating: The teachers', where there are any.
    """
    every = [logits, *(rating.each if rating else ()), *([rating.logits] if rating else ())]
    names = ["student", *(row["name"] for row in rating.teachers), "ensemble"] if rating else ["student"]
    found = examine(every, dataset.test_labels, names)
    for kind in found["parted"].values():
        for shown in kind["shown"]:
            shown["image"] = _png(dataset, shown.pop("place"))
    files.write_json(folder / FILE, found)


def examine(
    logits: Sequence[Logits], labels: Int[np.ndarray, " images"], names: Sequence[str]
) -> dict[str, Any]:
    """Returns how student, teachers and ensemble do on each class, how sure they are, and where they part.

    `classes` counts the images of each class. Each of `who` has `right`, how many of these it got right, and
    `bins`, the images by its confidence (Guo et al. 2017, as the calibration error): how many, how many
    right, the sum of the confidence. `parted` has by kind how many images there are and the places of some:
    `lost`, where the ensemble is right and the student is not, those first of which the student is surest;
    `won`, the other way round, those first of which the ensemble is surest; without teachers `lost` are all
    that the student gets wrong.

    Args:
        logits: Those of the student, of each teacher, and of their ensemble.
        labels: The images' classes.
        names: Who that is.
    """
    said = np.stack([one.argmax(-1) for one in logits])
    sure = np.stack([_confidence(one) for one in logits])
    right = said == labels
    classes = logits[0].shape[-1]
    place = np.clip(np.ceil(sure * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    who = [
        {
            "name": name,
            "right": np.bincount(labels[right[k]], minlength=classes),
            "bins": {
                "images": np.bincount(place[k], minlength=CALIBRATION_BINS),
                "right": np.bincount(place[k][right[k]], minlength=CALIBRATION_BINS),
                "confidence": np.bincount(place[k], sure[k], CALIBRATION_BINS),
            },
        }
        for k, name in enumerate(names)
    ]
    alone = len(names) == 1
    kinds = {"lost": (~right[0] & (True if alone else right[-1]), sure[0])}
    if not alone:
        kinds["won"] = (right[0] & ~right[-1], sure[-1])
    parted = {}
    for kind, (is_one, key) in kinds.items():
        places = np.flatnonzero(is_one)
        first = places[np.argsort(-key[places], kind="stable")][:_SHOWN]
        parted[kind] = {
            "images": len(places),
            "shown": [
                {
                    "place": int(i),
                    "label": int(labels[i]),
                    "said": [[int(said[k, i]), float(sure[k, i])] for k in range(len(names))],
                }
                for i in first
            ],
        }
    return files.plain({"classes": np.bincount(labels, minlength=classes), "who": who, "parted": parted})


def _confidence(logits: Logits) -> Float[np.ndarray, " images"]:
    """Returns the largest probability of each image; few at a time, since there may be many classes."""
    parts = np.array_split(logits, -(-logits.size // _AT_ONCE))
    return np.concatenate([softmax(part.astype(np.float64), axis=-1).max(-1) for part in parts])


def _png(dataset: Dataset, place: int) -> str:
    """Returns a test image as a PNG in base64, scaled down where it is large."""
    chosen = select(dataset.test_images, np.array([place]))
    pixels = np.concatenate(list(chosen.pieces())) if isinstance(chosen, Streamed) else chosen
    image = Image.fromarray(np.asarray(pixels[0]))
    image.thumbnail((_PIXELS, _PIXELS))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
