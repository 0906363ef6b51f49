"""The processes of one run, one on each host: they join, agree and wait for each other.

All of them run the same program. The first writes and prints; what a process decides by looking at a disk is
the first one's decision.
"""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jkd.errors import UserError
from jkd.machine import process

_SILENCE = 30  # seconds without a sign of life after which a process counts as dead
_PATIENCE = 7 * 24 * 3600 * 1000  # milliseconds; a process that died is noticed before
_meetings = itertools.count()


def join() -> None:
    """Joins the processes that the cluster has started with this one; a second call does nothing.

    Which they are is what JAX finds out: from SLURM, Open MPI, Kubernetes or a TPU pod.

    Raises:
        UserError: there is no such cluster, or the others cannot be reached.
    """
    if jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=_SILENCE)
    except (ValueError, RuntimeError) as error:
        told = " ".join(str(error).split())
        raise UserError(
            f"--distributed: JAX could not join the processes of a cluster ({told[:200]}); start one process "
            "on each host by SLURM (srun), Open MPI, Kubernetes or on a TPU pod, or leave it out"
        ) from None
    if joined():
        # JAX tells all of them of a preemption at one step; the other ways to stop a run are made to be it.
        process.passed_on()
        _tell_in_a_line()
    if not is_first():
        process.discard(1)


def joined() -> bool:
    """Whether there are several processes."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return not joined() or jax.process_index() == 0


def agreed(decision: Callable[[], bool]) -> bool:
    """Returns what the first process decides; the others do not look."""
    return bool(told(lambda: bytes([decision()]), 1)[0])


def told(find: Callable[[], bytes], length: int) -> bytes:
    """Returns what the first process finds, of so many bytes; the others do not look, and wait for it."""
    found = find() if is_first() else bytes(length)
    if joined():
        meet("something is found")
        found = multihost_utils.broadcast_one_to_all(np.frombuffer(found, np.uint8)).tobytes()
    return found


def summed(numbers: np.ndarray) -> np.ndarray:
    """Returns the sum over all processes of arrays of one shape and type."""
    if not joined() or not numbers.size:
        return numbers
    meet("something is summed")
    # As bytes: JAX would take integers of 64 bits for such of 32.
    found = multihost_utils.process_allgather(numbers.view(np.uint8))
    return found.view(numbers.dtype).sum(0, dtype=numbers.dtype)


def anywhere(found: bool) -> bool:
    """Whether it is so in any process."""
    return bool(summed(np.asarray([found], np.uint8)).any())


def meet(place: str) -> None:
    """Waits until all processes are here, however long; `place` must be the same in each."""
    if joined():
        # JAX's own barrier is a collective, which gives up after half a minute on CPUs.
        wait = ocp.multihost.get_barrier_sync_fn()
        wait(key=f"{next(_meetings)} {place}", timeout_ms=_PATIENCE)


def stopped_at(step: int, number: int) -> int:
    """Returns the signal that all processes stop for at this step, or 0.

    Args:
        step: The step, the same in all processes.
        number: The signal that this process has heard, or 0.
    """
    if not multihost_utils.reached_preemption_sync_point(step):
        return 0
    heard = multihost_utils.process_allgather(np.asarray(number))
    return int(heard.max()) or signal.SIGTERM


def lost(error: BaseException) -> str | None:
    """Returns what to say of an error that comes of another process's end, or None for others."""
    text = str(error)
    signs = ("Gloo", "Connection closed by peer", "coordination service", "NCCL", "Socket closed")
    if not joined() or not any(sign in text for sign in signs):
        return None
    return _ended()


def _tell_in_a_line() -> None:
    """Has a child process pass on what is written to standard error, but for how JAX ends this process.

    Where another process has died, JAX aborts this one, in whatever it is doing, and writes how, with a trace
    of its stack. Nothing in this process can tell of it in its place.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", _PASS_ON, _ended()], stdin=subprocess.PIPE, start_new_session=True
    )
    assert child.stdin is not None
    sys.stderr.flush()
    os.dup2(child.stdin.fileno(), 2)
    child.stdin.close()


def _ended() -> str:
    return (
        f"another process of this run has ended; this one, {jax.process_index() + 1} of "
        f"{jax.process_count()}, ends too; {process.GOES_ON}"
    )


_PASS_ON = """
import sys
THEIRS = "coordination_service", "preemption_sync", "CoordinationService", "grpc_", "tasks have crashed"
for line in sys.stdin:
    # This process may have noticed by itself, and told it, when it is aborted.
    if sys.argv[1] in line or "Terminating process because the JAX distributed service" in line:
        print(sys.argv[1], file=sys.stderr)
        break
    # The number alone is that of a process that died.
    if not any(word in line for word in THEIRS) and not line.strip().isdigit():
        print(line, end="", file=sys.stderr, flush=True)
sys.stdin.read()
"""
