"""Who was listened to: the weights of a comparison's runs, and what they were worth."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jkd.report import panel
from jkd.report.results import CONFIDENCE, Difference, Result, paired_difference, spread

_BY_CLASS = "train/class_weight_"
_ALIKE = 1e-4  # weights that never differ by more are equal


class Listener(NamedTuple):
    """A row of a comparison: its name, its method, and its finished runs."""

    name: str
    method: str
    runs: tuple[Result, ...]

    @property
    def top1(self) -> dict[int, float]:
        """Accuracy on the test images in the last epoch, by seed."""
        return {run.seed: run.value("last.test/top1") for run in self.runs}

    def kinds(self) -> list[str]:
        """Returns what it weighs teachers for, such as logits and features."""
        return [name.removeprefix(panel.WEIGHTS) for name in panel.names_of_weights(self.runs[0].records)]

    def weights(self, kind: str) -> Float[np.ndarray, "seeds teachers"]:
        """Returns each teacher's share of the weight in the last epoch."""
        last = np.array([run.records[-1][panel.WEIGHTS + kind] for run in self.runs])
        return last / last.sum(1, keepdims=True)

    def of_classes(self, kind: str, classes: int) -> Float[np.ndarray, "seeds teachers classes"]:
        """Returns each teacher's share of the weight that examples of each class gave in the last epoch.

        Weights that do not depend on the example are the same for every class; those of a class that no
        example of the epoch was of are NaN.
        """
        name = _BY_CLASS + kind
        if name not in self.runs[0].records[-1]:
            return np.repeat(self.weights(kind)[..., None], classes, axis=-1)
        last = np.array([run.records[-1][name] for run in self.runs])
        with np.errstate(invalid="ignore"):
            return last / last.sum(1, keepdims=True)

    @property
    def listens_alike(self) -> bool:
        """Whether it weighs all teachers alike from the first epoch to the last."""
        names = [panel.WEIGHTS + kind for kind in self.kinds()]
        found = [np.ptp(record[name]) for run in self.runs for record in run.records for name in names]
        return bool(found) and max(found) < _ALIKE


class Measures(NamedTuple):
    """What a row's weights come to, by kind where they are of one.

    Shares are of the last epoch's weight: that on the suspects, and that on those who saw an example's class.
    """

    listener: Listener
    weights: dict[str, Float[np.ndarray, "seeds teachers"]]
    on_suspects: dict[str, Float[np.ndarray, " seeds"]]
    on_experts: dict[str, Float[np.ndarray, " seeds"]]
    lost: Difference | None  # against the same row without the suspects
    gained: Difference | None  # over uniform weights


def expertise(teachers: Sequence[str], classes: int) -> Float[np.ndarray, "teachers classes"] | None:
    """Returns 1 where a teacher was taught a class and 0 where not, or None where all were taught all.

    Args:
        teachers: Their names, such as `resnet20-seed0:classes=0-6`.
        classes: How many there are.
    """
    found = np.ones((len(teachers), classes))
    for row, name in zip(found, teachers, strict=True):
        if taught := re.search(r":classes=(\d+)-(\d+)", name):
            row[:] = 0
            row[int(taught[1]) : int(taught[2]) + 1] = 1
    return None if found.all() else found


def measure(
    listeners: Sequence[Listener],
    suspects: Sequence[int],
    without: Mapping[str, Listener],
    uniform: Mapping[str, str],
    experts: Float[np.ndarray, "teachers classes"] | None,
) -> list[Measures]:
    """Returns what each row's weights come to.

    Args:
        listeners: The rows.
        suspects: Places, from 0, of the teachers that should not be listened to.
        without: By name, the same rows with the suspects left out by hand.
        uniform: By name, the row with uniform weights that a row is held against; under "" that of all others
            whose method has no such row of its own.
        experts: What `expertise` gives.
    """
    alike = {row.method: row for row in reversed(listeners) if row.listens_alike}  # the first of a method
    named = {row.name: row for row in listeners}
    found = []
    for row in listeners:
        weights = {kind: row.weights(kind) for kind in row.kinds()}
        on_experts = {}
        if experts is not None:
            of_classes = {kind: row.of_classes(kind, experts.shape[1]) for kind in weights}
            on_experts = {
                k: np.nanmean((shares * experts).sum(1), axis=1) for k, shares in of_classes.items()
            }
        left_out = without.get(row.name)
        even = named.get(uniform.get(row.name, "")) or alike.get(row.method) or named.get(uniform.get("", ""))
        if row.listens_alike or not weights:
            even = None
        found.append(
            Measures(
                listener=row,
                weights=weights,
                on_suspects={k: shares[:, list(suspects)].sum(1) for k, shares in weights.items()}
                if suspects
                else {},
                on_experts=on_experts,
                lost=paired_difference(left_out.top1, row.top1) if left_out else None,
                gained=paired_difference(row.top1, even.top1) if even else None,
            )
        )
    return found


def markdown(measured: Sequence[Measures], teachers: Sequence[str], facts: Mapping[str, str]) -> str:
    """Returns the measures as a table, with what must be known to read it."""
    header = ["row", "seeds", "top-1 %", "weights: of", *teachers]
    columns = {
        "on the suspects": any(m.on_suspects for m in measured),
        "on who saw the class": any(m.on_experts for m in measured),
        "lost against leaving them out": any(m.lost for m in measured),
        "gained over uniform weights": any(m.gained for m in measured),
    }
    header += [name for name, there in columns.items() if there]
    lines = [header, ["---", "---:", "---:", "---"] + ["---:"] * (len(header) - 4)]
    for m in measured:
        for place, kind in enumerate(m.weights or ["–"]):
            first = place == 0
            cells = ["", "", "", kind]
            if first:
                cells[:3] = [
                    m.listener.name,
                    str(len(m.listener.runs)),
                    _points(list(m.listener.top1.values())),
                ]
            shares = m.weights.get(kind)
            cells += ["–"] * len(teachers) if shares is None else [f"{x:.2f}" for x in shares.mean(0)]
            own = {
                "on the suspects": _share(m.on_suspects.get(kind)),
                "on who saw the class": _share(m.on_experts.get(kind)),
                "lost against leaving them out": _interval(m.lost) if first else "",
                "gained over uniform weights": _interval(m.gained) if first else "",
            }
            lines.append(cells + [own[name] for name, there in columns.items() if there])
    notes = [
        "Weights are each teacher's share in the last epoch, means over seeds; ± is the sample standard "
        "deviation over seeds.",
        f"Lost and gained are points of the last epoch's top-1 on the test images, paired by seed, with "
        f"Student's t interval ({CONFIDENCE:.0%}) where there are two seeds or more; each stands alone.",
    ]
    return "\n".join(
        [
            *(f"- {name}: {fact}" for name, fact in facts.items()),
            "",
            *(f"| {' | '.join(cells)} |" for cells in lines),
            "",
            *(f"- {note}" for note in notes),
            "",
        ]
    )


def _points(values: Sequence[float]) -> str:
    mean, std = spread([100 * value for value in values])
    return f"{mean:.2f}" + ("" if np.isnan(std) else f" ± {std:.2f}")


def _share(values: Float[np.ndarray, " seeds"] | None) -> str:
    if values is None:
        return "–"
    mean, std = spread(values.tolist())
    return f"{mean:.2f}" + ("" if np.isnan(std) else f" ± {std:.2f}")


def _interval(difference: Difference | None) -> str:
    if difference is None or not difference.pairs:
        return "–"
    text = f"{100 * difference.mean:+.2f}"
    if difference.pairs > 1:
        text += f" [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"
    return text
