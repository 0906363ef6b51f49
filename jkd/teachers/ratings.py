"""How good teachers are before they teach, and that they stay the same while a run lasts."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, PyTree

from jkd.errors import UserError
from jkd.machine import files
from jkd.methods.base import TeacherOutputs
from jkd.run import Run
from jkd.steps.asking import TeacherNetwork
from jkd.steps.evaluate import Predictor, accuracy_metrics, vote
from jkd.teachers.recorded import Recorded
from jkd.teachers.shapes import shapes
from jkd.teachers.teacher import Teacher
from jkd.training.job import Job


class Rating(NamedTuple):
    """Test metrics of each teacher, with its name, and of their ensemble; test logits of this and of each."""

    teachers: list[dict[str, Any]]
    ensemble: dict[str, Any]
    logits: np.ndarray
    each: Sequence[np.ndarray] = ()


def rate(ready: Sequence[Teacher], job: Job) -> Rating:
    """Rates teachers on the test images of a training; prints what it finds."""
    dataset, devices, augmentation = job.dataset, job.task.devices, job.task.augmentation
    logits = []
    for teacher in ready:
        if isinstance(teacher, Recorded):
            logits.append(teacher.test_logits)
            continue
        seen = partial(_logits, teacher.network(augmentation))
        predict = Predictor(seen, augmentation, devices, job.eval_batch_size)
        logits.append(predict(devices.replicate(teacher.variables), dataset.test_images))

    def metrics(values: np.ndarray) -> dict[str, Any]:
        return {name: float(v) for name, v in accuracy_metrics(values, dataset.test_labels).items()}

    rated = [
        {"name": t.name} | ({} if t.accuracy is None else {"promised": t.accuracy / 100}) | metrics(values)
        for t, values in zip(ready, logits, strict=True)
    ]
    together = vote(logits)
    rating = Rating(rated, metrics(together), together, logits)
    print(table(rating), flush=True)
    return rating


def _logits(network: TeacherNetwork, variables: PyTree, images: Float[Array, "b h w c"]) -> Array:
    return network.outputs(variables, images).logits


def table(rating: Rating) -> str:
    """Returns the accuracies of the teachers and of their ensemble as lines of text.

    Beside a teacher's stands what was promised for it. One that falls short of that by more than a point was
    most likely shown images in another normalisation or size than it was trained with, and that is said.
    """
    rows = [*rating.teachers, {"name": "ensemble (mean of probabilities)"} | rating.ensemble]
    width = max(len(row["name"]) for row in rows)
    lines = ["teachers:"]
    for row in rows:
        line = f"  {row['name']:<{width}}  test top-1 {row['top1']:.2%}"
        if "promised" in row:
            line += f" ({row['promised']:.2%} promised)"
        lines.append(f"{line}, top-5 {row['top5']:.2%}, loss {row['loss']:.3f}")
    short = [(row, row.get("promised", 0) - row["top1"]) for row in rating.teachers]
    notes = (
        f"  note: {row['name']} is {100 * gap:.1f} points below what was promised; if this is the data it "
        "was tested on, give it the mean, deviation and image size it was trained with "
        "(:mean=R/G/B:std=R/G/B:size=N)"
        for row, gap in short
        if gap > 0.01
    )
    return "\n".join([*lines, *notes])


def check_same(run: Run, ready: Sequence[Teacher], rating: Rating, outputs: Sequence[TeacherOutputs]) -> None:
    """Checks teachers against those a run began with; `teachers.json` remembers them.

    Args:
        run: The run.
        ready: Its teachers.
        rating: What they are worth.
        outputs: The shapes of what each gives for a batch, with which a finished student can be put together.

    Raises:
        UserError: the run began with other teachers.
    """
    path = run.workdir / "teachers.json"
    now = [row | {"fingerprint": t.fingerprint} for row, t in zip(rating.teachers, ready, strict=True)]
    if path.exists():
        for old, new in zip(files.read_json(path)["teachers"], now, strict=True):
            if old["fingerprint"] != new["fingerprint"]:
                raise UserError(
                    f"{run.workdir} began with another teacher {new['name']} "
                    f"(weights {old['fingerprint']}, now {new['fingerprint']}): "
                    "put it back, or give another --workdir"
                )
        return
    rows = [row | {"outputs": shapes(seen)} for row, seen in zip(now, outputs, strict=True)]
    files.write_json(path, {"teachers": rows, "ensemble": rating.ensemble})
