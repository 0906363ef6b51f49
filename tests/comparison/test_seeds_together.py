"""A comparison whose seeds share their calls is the comparison of runs that go alone."""

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

TINY = f"--import={Path(__file__).parents[1] / 'tiny.py'}"
FLAGS = (
    # At 0.02 one of the seeds passes where a map is near zero: there its direction is steep, and the norm of
    # the gradient magnifies last bits.
    *(TINY, "--teachers=tiny,tiny", "--student=tiny", "--learning-rate=0.01"),
    *("--methods=bomd", "--seeds=0,1,2", "--epochs=2", "--batch-size=64"),
)


def records(folder, seed):
    text = (folder / f"bomd-seed{seed}" / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def compared(command_line, name, devices, *flags):
    return command_line.start("compare", *FLAGS, *flags, f"--workdir={name}", devices=devices)


def test_on_two_devices_stopped_and_gone_on_with(command_line):
    """Three seeds on two devices: each record is that of the run alone, to 1e-5."""
    process = compared(command_line, "alone", 1)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    together = ("--seeds-together", "--steps-per-call=3")
    process = compared(command_line, "together", 2, *together)
    folder = command_line.folder / "together"
    while process.poll() is None and not list(folder.glob("bomd-seed0/checkpoints/9")):
        time.sleep(0.1)
    output = command_line.kill(process, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM, output
    process = compared(command_line, "together", 2, *together)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    for seed in range(3):
        alone = records(command_line.folder / "alone", seed)
        for found, expected in zip(records(folder, seed), alone, strict=True):
            assert found.keys() == expected.keys()
            for name in expected:
                if not name.startswith(("time/", "memory/")):
                    np.testing.assert_allclose(
                        found[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name
                    )
