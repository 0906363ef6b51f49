"""What a comparison found, as numbers: means and deviations over seeds, and paired differences."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Result:
    """What there is of one run: its records, its summary if it is finished, why it diverged if it did."""

    method: str
    seed: int
    records: list[dict[str, Any]]
    summary: dict[str, Any] | None = None
    diverged: str | None = None
    train_images: int = 0  # that the student is trained on
    folder: Path | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.summary is not None or self.diverged is not None

    @property
    def images_per_second(self) -> float:
        """The median over the epochs; the first, which includes compilation, only where there is no other."""
        speeds = [record["time/images_per_second"] for record in self.records]
        return float(np.median(speeds[1:] or speeds))

    @property
    def step_bytes(self) -> float:
        """The memory of a training step on one device; NaN where a run does not say."""
        return float(self.records[-1].get("memory/step_bytes") or np.nan)

    def value(self, name: str) -> float:
        """A number of the summary, such as `last.test/top1`."""
        found: Any = self.summary
        for part in name.split("."):
            found = found[part]
        return float(found)


class Spread(NamedTuple):
    """Mean and sample standard deviation over seeds; the deviation is NaN for fewer than two seeds."""

    mean: float
    std: float


class Difference(NamedTuple):
    """Mean over seeds of a paired difference, with its confidence interval (NaN for fewer than two pairs)."""

    mean: float
    low: float
    high: float
    pairs: int


class Row(NamedTuple):
    """What a table says of a method. Accuracies and calibration errors are fractions of 1."""

    method: str
    finished: int
    diverged: int
    missing: int
    top1: Spread
    best_top1: Spread
    calibration_error: Spread
    difference: Difference
    corrected: Difference  # the same, with the interval that Holm's correction tests
    train_images: int
    images_per_second: float
    relative_time: float  # of a step, to the baseline's
    step_bytes: float
    parameters: int
    multiply_adds: int


def spread(values: Sequence[float]) -> Spread:
    """Returns mean and sample standard deviation (n - 1), NaN where there are too few values."""
    mean = float(np.mean(values)) if len(values) else float("nan")
    return Spread(mean, float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"))


def paired_difference(
    ours: dict[int, float], theirs: dict[int, float], confidence: float = CONFIDENCE
) -> Difference:
    """Returns the mean of `ours - theirs` over the seeds that both have, with Student's t interval.

    Pairing by seed takes out what a seed does to both, such as the student's first weights. The interval
    assumes differences that are normally distributed over seeds; its width is that of n - 1 degrees of
    freedom, so that with three seeds it is wide, as it should be.

    Args:
        ours: Value by seed.
        theirs: Value of the baseline by seed.
        confidence: The interval's.
    """
    values = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    mean, std = spread(values)
    half = stats.t.ppf((1 + confidence) / 2, max(len(values) - 1, 1)) * std / np.sqrt(max(len(values), 1))
    return Difference(mean, float(mean - half), float(mean + half), len(values))


def differences(results: Sequence[Result], baseline: str) -> dict[str, tuple[Difference, Difference]]:
    """Returns each other method's paired difference to the baseline's last top-1, plain and corrected.

    Holm's step-down correction (Scandinavian Journal of Statistics 6:65-70, 1979): of m differences the one
    with the smallest p is tested at α/m, the next at α/(m - 1), and so on until one fails, at whose level the
    rest stays. The chance that any true zero is called different is then at most α. A corrected interval is
    that of its difference's own level, and misses zero exactly where Holm rejects zero (ours: intervals that
    cover all true differences at once would be wider).

    Args:
        results: The runs.
        baseline: The method that differences are to; it has no difference itself.
    """
    reference = by_seed(results, baseline, "last.test/top1")
    others = [m for m in dict.fromkeys(result.method for result in results) if m != baseline]
    measured = {method: by_seed(results, method, "last.test/top1") for method in others}
    plain = {method: paired_difference(values, reference) for method, values in measured.items()}
    tested = sorted((_p_value(found), method) for method, found in plain.items() if found.pairs > 1)
    level, failed = 1 - CONFIDENCE, False
    corrected = dict(plain)
    for rank, (p, method) in enumerate(tested):
        if not failed:
            level = (1 - CONFIDENCE) / (len(tested) - rank)
            failed = p > level
        corrected[method] = paired_difference(measured[method], reference, 1 - level)
    return {method: (plain[method], corrected[method]) for method in others}


def _p_value(found: Difference) -> float:
    """Returns the two-sided p of Student's t test, from its interval."""
    degrees, half = found.pairs - 1, (found.high - found.low) / 2
    error = half / stats.t.ppf((1 + CONFIDENCE) / 2, degrees)
    if not error:  # all pairs differ by the same
        return float(not found.mean)
    return float(2 * stats.t.sf(abs(found.mean) / error, degrees))


def by_seed(results: Sequence[Result], method: str, name: str) -> dict[int, float]:
    """Returns a number of the summary by seed, of the finished runs of a method that did not diverge."""
    return {r.seed: r.value(name) for r in results if r.method == method and r.summary is not None}


def rows(results: Sequence[Result], baseline: str) -> list[Row]:
    """Returns a row for each method, in the order in which the methods first come."""
    found = []
    reference = by_seed(results, baseline, "last.test/top1")
    to_itself = paired_difference(reference, reference)
    compared = differences(results, baseline)
    speed = {
        method: spread([r.images_per_second for r in results if r.method == method and r.summary]).mean
        for method in dict.fromkeys(result.method for result in results)
    }
    for method in speed:
        own = [result for result in results if result.method == method]
        done = [result for result in own if result.summary is not None]
        plain, corrected = compared.get(method, (to_itself, to_itself))

        def over_seeds(name: str, done: list[Result] = done) -> Spread:
            return spread([result.value(name) for result in done])

        found.append(
            Row(
                method=method,
                finished=len(done),
                diverged=sum(result.diverged is not None for result in own),
                missing=sum(not result.finished for result in own),
                top1=over_seeds("last.test/top1"),
                best_top1=over_seeds("best.test/top1"),
                calibration_error=over_seeds("last.test/ece"),
                difference=plain,
                corrected=corrected,
                train_images=own[0].train_images,
                images_per_second=speed[method],
                relative_time=speed.get(baseline, math.nan) / speed[method],
                step_bytes=spread([result.step_bytes for result in done]).mean,
                parameters=int(done[0].value("parameters")) if done else 0,
                multiply_adds=int(done[0].value("multiply_adds")) if done else 0,
            )
        )
    return found
