"""What asks a process to stop is heard, wherever it is."""

import gc
import os
import signal
import time

import pytest

from jkd.machine import process


@pytest.fixture(autouse=True)
def heeded():
    """The signals are not ignored, as a shell has SIGINT ignored by what it starts in the background."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def collected():
    """Sends this process a signal in a callback of the garbage collector's, as it is whenever JAX is there.

    Python drops what is raised in one.
    """
    numbers = []

    def callback(phase, info):
        if phase == "stop" and numbers:
            os.kill(os.getpid(), numbers.pop())

    gc.callbacks.append(callback)
    yield numbers
    gc.callbacks.remove(callback)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_python_drops_is_raised_again(collected, capfd, number):
    began = time.monotonic()
    with pytest.raises(process.Stopped) as stopped, process.heard("stopping", interrupt=True):
        collected.append(number)
        gc.collect()
        time.sleep(30)
    assert stopped.value.signal == number
    assert time.monotonic() - began < 10
    assert capfd.readouterr().err.split("\n") == ["", f"{number.name} heard: stopping", ""]


def test_a_signal_that_is_dropped_at_the_very_end_does_not_outlive_it(collected, capfd):
    before = signal.getsignal(signal.SIGTERM)
    for _ in range(4):
        try:
            with process.heard("stopping", interrupt=True):
                collected.append(signal.SIGTERM)
                gc.collect()
        except process.Stopped:
            pass
        assert signal.getsignal(signal.SIGTERM) == before
    time.sleep(0.1)  # here it would end the process
