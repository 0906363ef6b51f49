"""What a person sees while a network trains: a live line on a terminal, one plain line an epoch elsewhere."""

import sys
from typing import Any

from tqdm.auto import tqdm  # a widget in a notebook, a line in a terminal
from tqdm.notebook import tqdm as widget


class Progress:
    """Progress over the steps of a training."""

    def __init__(self, name: str, total_steps: int, epochs: int, step: int):
        self._name, self._epochs = name, epochs
        self._live = sys.stdout.isatty() or issubclass(tqdm, widget)
        self._bar = tqdm(
            total=total_steps,
            initial=step,
            desc=name,
            unit="step",
            file=sys.stdout,
            disable=not self._live,
            dynamic_ncols=True,
            leave=False,
            bar_format="{desc} {percentage:3.0f}% |{bar:12}| {remaining} left{postfix}",
        )

    def advance(
        self, steps: int, epoch: int, images_per_second: float, loss: float, top1: float | None
    ) -> None:
        """Moves the live line on."""
        if self._live:
            accuracy = "" if top1 is None else f", test top-1 {top1:.2%}"
            self._bar.set_postfix_str(
                f"epoch {epoch}/{self._epochs}, {images_per_second:,.0f} images/s, loss {loss:.3f}{accuracy}",
                refresh=False,
            )
            self._bar.update(steps)

    def epoch(self, record: dict[str, Any], left: float) -> None:
        """Says how an epoch ended."""
        terms = ", ".join(
            f"{name.removeprefix('train/')} {record[name]:.3f}"
            for name in ("train/loss", "train/ce", "train/kd", "train/features", "train/alignment")
            if name in record
        )
        weights = "".join(
            f", {label} [{' '.join(f'{w:.2f}' for w in record[name])}]"
            for name, label in (
                ("train/weight_logits", "weights"),
                ("train/weight_features", "feature weights"),
            )
            if name in record
        )
        self.say(
            f"{self._name} epoch {record['epoch']}/{self._epochs}: {terms}, "
            f"test top-1 {record['test/top1']:.2%}"
            f"{weights}, {record['time/images_per_second']:,.0f} images/s, {_clock(left)} left"
        )

    def say(self, line: str) -> None:
        """Prints a line above the live one."""
        self._bar.write(line, file=sys.stdout) if self._live else print(line, flush=True)

    def close(self) -> None:
        """Takes the live line away."""
        self._bar.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
