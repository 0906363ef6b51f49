"""What a person sees while a network trains: a live line on a terminal, one plain line an epoch elsewhere."""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from jkd.machine.bars import bar, moving

_LABELS = {"weight_logits": "weights", "weight_features": "feature weights"}
_BARS = "▁▂▃▄▅▆▇█"


class Progress:
    """Progress over the steps of a training."""

    def __init__(self, name: str, total_steps: int, epochs: int, step: int):
        self._name, self._epochs = name, epochs
        self._live = moving(sys.stdout)
        self._bar = bar(
            sys.stdout,
            total=total_steps,
            initial=step,
            desc=name,
            unit="step",
            dynamic_ncols=True,
            leave=False,
            bar_format="{desc} {percentage:3.0f}% |{bar:12}| {remaining} left{postfix}",
        )

    def advance(
        self, steps: int, epoch: int, images_per_second: float, metrics: Mapping[str, Any], top1: float | None
    ) -> None:
        """Moves the live line on; of the metrics `[steps, ...]` it shows the last step's."""
        if self._live:
            last = {name: np.asarray(values)[-1] for name, values in metrics.items()}
            terms = _terms(last)
            accuracy = [] if top1 is None else [f"test top-1 {top1:.2%}"]
            weights = [f"{label} {_bars(values)}".rstrip() for label, values in _weights(last)]
            speed = [f"epoch {epoch}/{self._epochs}", f"{images_per_second:,.0f} images/s"]
            # The narrower the terminal, the more is cut off at the end.
            self._bar.set_postfix_str(
                ", ".join(speed + terms[:1] + accuracy + weights + terms[1:]), refresh=False
            )
            self._bar.update(steps)

    def epoch(self, record: Mapping[str, Any], left: float) -> None:
        """Says how an epoch ended."""
        trained = {
            name.removeprefix("train/"): value for name, value in record.items() if name.startswith("train/")
        }
        weights = [
            f"{label} {_bars(values)}[{' '.join(f'{w:.2f}' for w in values)}]"
            for label, values in _weights(trained)
        ]
        parts = [
            *_terms(trained),
            f"test top-1 {record['test/top1']:.2%}",
            *weights,
            f"{record['time/images_per_second']:,.0f} images/s",
            f"{_clock(left)} left",
        ]
        self.say(f"{self._name} epoch {record['epoch']}/{self._epochs}: {', '.join(parts)}")

    def say(self, line: str) -> None:
        """Prints a line above the live one."""
        self._bar.write(line, file=sys.stdout) if self._live else print(line, flush=True)

    def close(self) -> None:
        """Takes the live line away."""
        self._bar.close()


def _terms(metrics: Mapping[str, Any]) -> list[str]:
    """Returns the loss and what a method logs beside it, its terms first of all."""
    scalars = [name for name in metrics if np.ndim(metrics[name]) == 0]
    shown = [name for name in scalars if name not in ("top1", "learning_rate") and not name.endswith("_norm")]
    return [f"{name} {float(metrics[name]):.3f}" for name in sorted(shown, key=lambda name: name != "loss")]


def _weights(metrics: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Returns each kind of the teachers' weights, with its label."""
    return [(label, metrics[name]) for name, label in _LABELS.items() if name in metrics]


def _bars(weights: Any) -> str:
    """Returns a bar for each weight, a full one for 1; nothing where the output cannot show them."""
    if not moving(sys.stdout):
        return ""
    try:
        _BARS.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return ""
    places = np.clip(np.asarray(weights) * len(_BARS), 0, len(_BARS) - 1).astype(int)
    return "".join(_BARS[place] for place in places) + " "


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
