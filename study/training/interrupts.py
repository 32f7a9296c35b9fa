"""Ctrl-C, SIGTERM and SIGUSR1 as a check between steps, instead of an exception at any moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["EXIT_REQUEUE", "Interrupted", "Preempted", "preemptible", "stoppable"]

EXIT_REQUEUE = 75
"""Exit code of a run that is not done and may be started again: it was preempted, or another process works on it.

It is EX_TEMPFAIL of sysexits.h, "the user is invited to retry".
"""

USR1: signal.Signals | None = getattr(signal, "SIGUSR1", None)
"""Windows has none."""
SIGNALS = tuple(number for number in (signal.SIGINT, signal.SIGTERM, USR1) if number is not None)


class Interrupted(KeyboardInterrupt):
    """The user or the system asked the process to end; its work is saved."""


class Preempted(Interrupted):
    """The system asked the process to end, by SIGTERM or, as Slurm does before a time limit, by SIGUSR1."""


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Yield a function that raises `Interrupted` after SIGINT, and `Preempted` after SIGTERM or SIGUSR1.

    A second SIGINT or SIGTERM ends the process at once. SIGUSR1 may come several times and be followed by SIGTERM, as
    Slurm does. Outside the main thread, Python takes no signals: the function then never raises.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and (number == signal.SIGINT or number in received) and number != USR1:
            raise KeyboardInterrupt
        received.append(number)

    def check() -> None:
        if received:
            raise Interrupted if received[0] == signal.SIGINT else Preempted

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    previous = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield check
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def preemptible() -> Iterator[None]:
    """Raise `Preempted` at once on SIGTERM or SIGUSR1, where nothing has to be saved; `stoppable` inside takes over."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Preempted

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, end) for number in SIGNALS if number != signal.SIGINT}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
