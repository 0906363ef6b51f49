"""What a person sees while a network trains."""

import io
import sys

import pytest

from jkd.training.progress import Progress

RECORD = {
    "epoch": 1,
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
        progress.advance(25, 1, 640.0, 1.5, 0.5)
        progress._bar.refresh()
    progress.epoch(RECORD, 65)
    progress.close()
    return stream.getvalue()


def test_a_terminal_has_a_live_line(monkeypatch):
    text = show(Terminal(), monkeypatch)
    assert "left, epoch 1/2, 640 images/s, loss 1.500, test top-1 50.00%" in text
    assert "\r" in text


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_each_epoch_has_a_line(stream, monkeypatch):
    text = show(stream(), monkeypatch)
    assert (
        "run epoch 1/2: loss 1.500, test top-1 50.00%, weights [0.25 0.75], 640 images/s, 0:01:05 left"
        in text
    )


def test_elsewhere_there_is_nothing_but_plain_lines(monkeypatch):
    text = show(io.StringIO(), monkeypatch)
    assert "\r" not in text and len(text.splitlines()) == 1
