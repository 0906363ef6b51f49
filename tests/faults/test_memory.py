"""The memory of a long run stays where it was."""

import os
import re
from pathlib import Path

import pytest
from scipy.stats import theilslopes

TINY = f"--import={Path(__file__).parents[1] / 'tiny.py'}"
# 2,000 epochs within 100 MiB.
MEBIBYTES_AN_EPOCH = 0.05


def resident(process):
    """MiB of memory that a process has now."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell")
def test_memory_does_not_grow_with_the_epochs(command_line, monkeypatch):
    # What is imported late, allocated once and kept in threads comes in the epochs before `first`.
    first, last = 100, 300
    # One heap for all threads: with one each, as is the default, glibc keeps what threads that come and go
    # have freed, 25 MiB in 400 epochs. That hides what is never freed (tensorstore keeps 0.01 MiB an epoch).
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    flags = ("--student=tiny", "--batch-size=608", f"--epochs={last}", "--workdir=memory")
    process = command_line.start("scratch", TINY, *flags)
    found = {}
    for line in process.stdout:
        if epoch := re.match(r"memory epoch (\d+)/", line):
            found[int(epoch[1])] = resident(process.pid)
    assert process.wait() == 0, process.stderr.read()
    assert sorted(found) == list(range(1, last + 1))
    # A single reading is off by what the threads that save happen to hold: the median of all slopes.
    epochs = range(first, last + 1)
    assert theilslopes([found[epoch] for epoch in epochs], epochs).slope < MEBIBYTES_AN_EPOCH
