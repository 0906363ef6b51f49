"""What a finished run says of itself in a few numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jkd.teachers.ratings import Rating


def summarise(
    identity: Mapping[str, Any], dataset: str, records: Sequence[Mapping[str, Any]], rating: Rating | None
) -> dict[str, Any]:
    """Returns a run's summary.

    Args:
        identity: The run's configuration.
        dataset: The data set's name.
        records: One record per epoch.
        rating: What its teachers are worth, where it has any.
    """
    choice, chosen_on = "test/top1", "the test set, so it flatters: compare by the last epoch"
    if "validation/top1" in records[-1]:
        choice, chosen_on = "validation/top1", "validation images held out from training"
    best = max(records, key=lambda record: record[choice])

    def tests(record: Mapping[str, Any]) -> dict[str, Any]:
        return {"epoch": record["epoch"]} | {
            name: value for name, value in record.items() if name.startswith(("test/", "validation/"))
        }

    return {
        "method": identity["method"],
        "student": identity["student"],
        "dataset": dataset,
        "seed": identity["seed"],
        "split": "test",
        "last": tests(records[-1]),
        "best": tests(best) | {"chosen_on": chosen_on},
        "teachers": rating.teachers if rating else [],
        "ensemble": rating.ensemble if rating else {},
        "time/images_per_second": float(np.median([r["time/images_per_second"] for r in records])),
    }


def headline(summary: Mapping[str, Any]) -> str:
    """Returns a summary as a line."""
    last, best = summary["last"], summary["best"]
    chosen = "on validation images" if "validation/top1" in best else "on the test set"
    return (
        f"test top-1 {last['test/top1']:.2%} at the last epoch ({last['epoch']}), "
        f"top-5 {last['test/top5']:.2%}, calibration error {last['test/ece']:.4f}; "
        f"best {best['test/top1']:.2%} at epoch {best['epoch']} "
        f"(chosen {chosen})"
    )
