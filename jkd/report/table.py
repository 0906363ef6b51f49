"""The table of a comparison, in Markdown for people and as comma-separated values for programs."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jkd.report.results import CONFIDENCE, Difference, Result, Row, Spread


class Published(NamedTuple):
    """What a paper or its code reports for a method: top-1 accuracy in percent, and how it came about.

    `source` says where. `epoch` is "last", "best" (on the test images) or "unknown"; `seeds`, their number,
    is None where it is unknown.
    """

    top1: float
    source: str
    epoch: str = "unknown"
    seeds: int | None = None

    @property
    def number(self) -> str:
        """The accuracy, with its epoch where that is known."""
        return f"{self.top1:.2f}" + (f" ({self.epoch})" if self.epoch != "unknown" else "")

    def __str__(self) -> str:
        """Says it all in a line."""
        epoch = {"last": "last epoch", "best": "best epoch on the test images"}.get(self.epoch)
        seeds = f"{self.seeds} seed{'s' if self.seeds != 1 else ''}" if self.seeds else "seeds not said"
        return f"{self.top1:.2f} ({epoch or 'epoch not said'}, {seeds}), {self.source}"


def markdown(
    results: Sequence[Result],
    rows: Sequence[Row],
    baseline: str,
    facts: Mapping[str, str],
    published: Mapping[str, Published] | None = None,
) -> str:
    """Returns the table of a comparison with what must be known to read it.

    Args:
        results: The runs.
        rows: Their statistics, `jkd.report.results.rows`.
        baseline: The method that differences are to.
        facts: What else is said above the table, by name: data, epochs, command, versions.
        published: By method, the paper's number; gives a column of its own.
    """
    header = [
        "method",
        "seeds",
        "top-1 %, last epoch",
        f"difference to {baseline}, {CONFIDENCE:.0%} interval",
        "Holm-corrected interval",
        "best top-1 % (chosen on test)",
        "calibration error %",
        "training images",
        f"time per step, × {baseline}",
        "memory of a step, MiB",
        "images/s",
        "parameters",
        "multiply-adds",
    ]
    if published:
        header.insert(3, "published top-1 %")
    lines = [header, ["---"] + ["---:"] * (len(header) - 1)]
    for row in rows:
        cells = [
            row.method,
            count(row),
            percent(row.top1),
            "baseline" if row.method == baseline else difference(row.difference),
            "–" if row.method == baseline else interval(row.corrected) or "–",
            percent(row.best_top1),
            percent(row.calibration_error),
            f"{row.train_images:,}",
            number(row.relative_time, 2),
            number(row.step_bytes / 2**20, 1),
            number(row.images_per_second),
            f"{row.parameters:,}" if row.finished else "–",
            f"{row.multiply_adds:,}" if row.finished else "–",
        ]
        if published:
            cells.insert(3, published[row.method].number if row.method in published else "–")
        lines.append(cells)
    for name, rated in teachers(results).items():
        lines.append([name, "", f"{100 * rated['top1']:.2f}"] + [""] * (len(header) - 3))
    return "\n".join(
        [
            *(f"- {name}: {fact}" for name, fact in facts.items()),
            "",
            *(f"| {' | '.join(cells)} |" for cells in lines),
            "",
            *(f"- {note}" for note in notes(results, rows, baseline, published or {})),
            "",
        ]
    )


def comma_separated(rows: Sequence[Row], published: Mapping[str, Published] | None = None) -> str:
    """Returns the statistics of the methods, a line each; accuracies are fractions of 1, not rounded."""
    columns: dict[str, Any] = {
        "method": lambda row: row.method,
        "seeds": lambda row: row.finished,
        "diverged": lambda row: row.diverged,
        "missing": lambda row: row.missing,
        "top1_mean": lambda row: row.top1.mean,
        "top1_std": lambda row: row.top1.std,
        "difference": lambda row: row.difference.mean,
        "difference_low": lambda row: row.difference.low,
        "difference_high": lambda row: row.difference.high,
        "holm_low": lambda row: row.corrected.low,
        "holm_high": lambda row: row.corrected.high,
        "difference_pairs": lambda row: row.difference.pairs,
        "best_on_test_top1_mean": lambda row: row.best_top1.mean,
        "best_on_test_top1_std": lambda row: row.best_top1.std,
        "calibration_error_mean": lambda row: row.calibration_error.mean,
        "calibration_error_std": lambda row: row.calibration_error.std,
        "train_images": lambda row: row.train_images,
        "images_per_second": lambda row: row.images_per_second,
        "relative_step_time": lambda row: row.relative_time,
        "step_bytes": lambda row: row.step_bytes,
        "parameters": lambda row: row.parameters,
        "multiply_adds": lambda row: row.multiply_adds,
    }
    if published:
        columns["published_top1"] = lambda row: (
            published[row.method].top1 / 100 if row.method in published else math.nan
        )
    return _csv([list(columns), *([get(row) for get in columns.values()] for row in rows)])


def comma_separated_runs(results: Sequence[Result]) -> str:
    """Returns the runs, a line each."""
    columns = "method,seed,state,top1,best_on_test_top1,calibration_error,images_per_second,parameters"
    lines: list[list[Any]] = [columns.split(",")]
    for result in results:
        state = "diverged" if result.diverged else "finished" if result.summary else "missing"
        values: list[float] = []
        if result.summary:
            values = [result.value(name) for name in ("last.test/top1", "best.test/top1", "last.test/ece")]
            values += [result.images_per_second, int(result.value("parameters"))]
        lines.append([result.method, result.seed, state, *values])
    return _csv(lines)


def _csv(lines: list[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for line in lines:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in line])
    return text.getvalue()


def count(row: Row) -> str:
    """Returns how many runs of a row are finished, have diverged and are to come."""
    words = [str(row.finished)]
    words += [f"{row.diverged} diverged"] if row.diverged else []
    words += [f"{row.missing} to come"] if row.missing else []
    return ", ".join(words)


def percent(value: Spread) -> str:
    """Returns mean and deviation in percent."""
    if math.isnan(value.mean):
        return "–"
    return f"{100 * value.mean:.2f}" + ("" if math.isnan(value.std) else f" ± {100 * value.std:.2f}")


def difference(found: Difference) -> str:
    """Returns a difference in points, with its interval where there is one."""
    return f"{100 * found.mean:+.2f} {interval(found)}".strip() if found.pairs else "–"


def interval(found: Difference) -> str:
    """Returns the interval of a difference in points, or nothing."""
    return f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}]" if found.pairs > 1 else ""


def number(value: float, digits: int = 0) -> str:
    """Returns a number, or a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


def teachers(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Returns what the teachers and their ensemble are worth, by name."""
    for result in results:
        if result.summary and result.summary["teachers"]:
            rated = {f"teacher {row['name']}": row for row in result.summary["teachers"]}
            return rated | {"teachers' ensemble": result.summary["ensemble"]}
    return {}


def notes(
    results: Sequence[Result], rows: Sequence[Row], baseline: str, published: Mapping[str, Published]
) -> list[str]:
    """Returns what must be known to read a table, a sentence or a few each."""
    seeds = len({result.seed for result in results})
    pairs = max((row.difference.pairs for row in rows if row.method != baseline), default=0)
    said = ["± is the sample standard deviation over seeds." if seeds > 1 else ""]
    if pairs > 1:
        said.append(
            f"Differences are in points of the last epoch's top-1, paired by seed, with Student's t interval "
            f"({CONFIDENCE:.0%}); each stands alone, so that among many some miss zero by chance. Of those "
            f"corrected by Holm's one misses zero by chance in {1 - CONFIDENCE:.0%} of tables or less. "
            "They are over seeds of the student: teachers and data are fixed."
        )
    elif seeds == 1:
        said.append(
            "There is one seed, so there is no deviation and no interval: a difference between single runs "
            "says nothing about their spread. Give --seeds=0,1,2 or more."
        )
    said.append(
        "The time of a step is from the median images/s of the epochs; its memory is what the largest of its "
        "compiled programs takes on one device: arguments, results and what lies between."
    )
    said.append("Parameters and multiply-adds (for one image) are those of the student as it is deployed.")
    said.append(
        "The best epoch is chosen on the test images themselves and so flatters; compare by the last epoch."
    )
    said += [
        f"{result.method} seed {result.seed} diverged (remove its folder to try again): {result.diverged}"
        for result in results
        if result.diverged
    ]
    said += [f"Published {method}: {entry}" for method, entry in published.items()]
    return [words for words in said if words]
