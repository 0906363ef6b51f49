"""This process: what asks it to stop, signals or a time limit, and where its output goes."""

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NoReturn

from jkd.errors import UserError

GOES_ON = "the same command goes on from there"
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked to stop. `signal` is its number."""

    def __init__(self, number: int):
        super().__init__()
        self.signal = number


class Interrupted(Exception):
    """A signal, or the time limit, asked to stop; what was done is saved. `signal` is its number."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.signal = number

    @property
    def at_time_limit(self) -> bool:
        """Whether it was the time limit, so that all went as the user wanted."""
        return self.signal == signal.SIGALRM


_DROPPED, _PATIENCE = b"\0", 0.01  # no signal's number; seconds until what was dropped is raised again
_limited = False  # whether there is a `time_limit`, whose signal is SIGALRM
_passed_on = False  # whether JAX has SIGTERM, so that all processes of a run stop at one step
_received: list[list[int]] = []  # for each `heard` that is open, the signals since the outermost began


@contextmanager
def heard(answer: str, *, interrupt: bool = False) -> Iterator[Callable[[], int]]:
    """Hears SIGTERM, SIGINT and SIGHUP, and a `time_limit`, and says so on standard error at once.

    A signal that the process was started to ignore, as by `nohup`, stays ignored. Only the main thread may
    handle signals; in another none is heard.

    Args:
        answer: What is said, after the signal's name.
        interrupt: Raise `Stopped` wherever the main thread is; again, until it is where Python does not drop
            what is raised, as it does in callbacks.

    Yields:
        A function that returns the first signal's number, or 0.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    # Python handles a signal between two of its instructions, and a compiled program may be one of minutes.
    # The number that the interpreter itself writes to the pipe is read and answered in the meantime.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    main, leaving, over = threading.get_ident(), threading.Lock(), False

    def tell() -> None:
        repeated = 0
        while number := os.read(reading, 1):
            if number == _DROPPED:
                time.sleep(_PATIENCE)
                with leaving:
                    if not over:
                        repeated += 1
                        signal.pthread_kill(main, received[0])
            elif number[0] in numbers and repeated:
                repeated -= 1
            elif number[0] in numbers:
                heard_of = "reached" if number[0] == signal.SIGALRM else "heard"
                say(f"\n{called(number[0])} {heard_of}: {answer}\n")
        os.close(reading)

    numbers = (*STOPPING, signal.SIGALRM) if _limited else STOPPING
    telling = threading.Thread(target=tell, daemon=True, name="signals")
    telling.start()

    received = _received[-1] if _received else []

    def handle(number: int, frame: Any) -> None:
        received.append(number)
        if interrupt and not over:
            raise Stopped(number)
        if _passed_on:
            os.kill(os.getpid(), signal.SIGTERM)

    # JAX has one such callback at the end of every collection of garbage, and signals wait for that.
    unraisable_hook = sys.unraisablehook

    def dropped(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, Stopped):
            os.write(writing, _DROPPED)
        else:
            unraisable_hook(unraisable)

    _received.append(received)
    taken = [
        number
        for number in numbers
        if signal.getsignal(number) != signal.SIG_IGN and not (_passed_on and number == signal.SIGTERM)
    ]
    before = {number: signal.signal(number, handle) for number in taken}
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if interrupt:
        sys.unraisablehook = dropped
    try:
        yield lambda: received[0] if received else 0
    finally:
        over = True
        with leaving:
            _received.pop()
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
        sys.unraisablehook = unraisable_hook
        os.close(writing)
        telling.join(1)  # a process that ends now would end before it has answered


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Asks what is within to stop after so many seconds, in the way that signals do; None: never.

    Raises:
        Interrupted: The time was over where nothing was being trained. Training saves, and raises it itself.
        UserError: This is not the main thread, which alone can be asked.
    """
    global _limited
    if seconds is None:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise UserError(f"--time-limit={seconds:g}: it needs the main thread; call this there, or without it")
    _limited = True
    try:
        with heard("stopping", interrupt=True):
            signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                yield
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except Stopped as stopped:
        if stopped.signal != signal.SIGALRM:
            raise
        raise Interrupted(stopped.signal, f"stopped by {called(stopped.signal)}; {GOES_ON}") from None
    finally:
        _limited = False


def passed_on() -> None:
    """Leaves SIGTERM from now on to JAX, which tells a run's processes; the others become SIGTERM."""
    global _passed_on
    _passed_on = True


def called(number: int) -> str:
    """Returns how a signal is called that asked to stop."""
    return "the time limit" if number == signal.SIGALRM else signal.Signals(number).name


def say(text: str) -> None:
    """Writes to standard error past all buffers; if the terminal is gone, so is all output from here on."""
    try:
        os.write(2, text.encode())
    except OSError:
        discard(1, 2)


def discard(*descriptors: int) -> None:
    """Lets what is written to these descriptors vanish, instead of failing."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextmanager
def command_line() -> Iterator[None]:
    """Makes this process one that a signal ends in order, with an output that can be written to."""
    # What orbax leaves undone of a checkpoint that it cannot read or write complains when it is collected.
    sys.unraisablehook = _unraisable
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    with ExitStack() as stack:
        # Where these were closed the interpreter has None, which has no `isatty`.
        nowhere = stack.enter_context(open(os.devnull, "w"))
        stack.enter_context(redirect_stdout(sys.stdout or nowhere))
        stack.enter_context(redirect_stderr(sys.stderr or nowhere))
        stack.enter_context(heard("stopping", interrupt=True))
        yield


def leave(status: int) -> NoReturn:
    """Exits. Where orbax failed to save, its threads may wait twenty minutes for each other; not then."""
    if status == 2 and any(type(thread).__module__.startswith("orbax") for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _unraisable(unraisable: Any) -> None:
    """Prints as usual, but for what comes from orbax."""
    trace, files = unraisable.exc_traceback, ""
    while trace is not None:
        files += trace.tb_frame.f_code.co_filename
        trace = trace.tb_next
    if "orbax" not in files and "asyncio" not in files:
        sys.__unraisablehook__(unraisable)
