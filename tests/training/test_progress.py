"""What a person sees while a network trains."""

import io
import sys

import numpy as np
import pytest

from jkd.training.progress import Progress

METRICS = {
    "agreement": np.array([0.1, 0.125]),
    "loss": np.array([9.0, 1.5]),
    "gradient_norm": np.array([1.0, 1.0]),
    "top1": np.array([0.5, 0.5]),
    "weight_logits": np.array([[0.5, 0.5], [0.25, 0.75]]),
    "weight_logits_std": np.zeros((2, 2)),
}
RECORD = {
    "epoch": 1,
    "train/agreement": 0.125,
    "train/learning_rate": 0.0005,
    "train/loss": 1.5,
    "train/weight_logits": [0.25, 0.75],
    "test/top1": 0.5,
    "time/images_per_second": 640.0,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show(stream, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream)
    progress = Progress("run", total_steps=100, epochs=2, step=0)
    for _ in range(4):
        progress.advance(25, 1, 640.0, METRICS, 0.5)
        progress._bar.refresh()
    progress.epoch(RECORD, 65)
    progress.close()
    return stream.getvalue()


def test_a_terminal_has_a_live_line(monkeypatch):
    text = show(Terminal(), monkeypatch)
    assert "left, epoch 1/2, 640 images/s, loss 1.500, test top-1 50.00%, weights ▃▇, agreement 0.125" in text
    assert "\r" in text


def test_before_the_first_answer_of_the_device_the_line_is_short(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    progress = Progress("run", total_steps=100, epochs=2, step=0)
    progress.advance(25, 1, 640.0, {}, None)
    progress._bar.refresh()
    assert sys.stdout.getvalue().endswith("left, epoch 1/2, 640 images/s")
    progress.close()


def test_a_terminal_that_cannot_show_bars_has_figures(monkeypatch):
    class Old(Terminal):
        encoding = "ascii"

    text = show(Old(), monkeypatch)
    assert text.isascii() and "weights [0.25 0.75]" in text


@pytest.mark.parametrize(("stream", "bars"), [(io.StringIO, ""), (Terminal, "▃▇ ")])
def test_each_epoch_has_a_line(stream, bars, monkeypatch):
    text = show(stream(), monkeypatch)
    weights = f"weights {bars}[0.25 0.75]"
    line = f"run epoch 1/2: loss 1.500, agreement 0.125, test top-1 50.00%, {weights}, 640 images/s"
    assert line + ", 0:01:05 left" in text


def test_elsewhere_there_is_nothing_but_plain_lines(monkeypatch):
    text = show(io.StringIO(), monkeypatch)
    assert "\r" not in text and len(text.splitlines()) == 1
