"""Ctrl-C and SIGTERM as a check between steps, instead of an exception at any moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "stoppable"]


class Interrupted(KeyboardInterrupt):
    """The user or the system asked the process to end; its work is saved."""


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Yield a function that raises `Interrupted` after SIGINT or SIGTERM; a second signal ends the process at once.

    Outside the main thread, Python takes no signals: the function then never raises.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            raise KeyboardInterrupt

    def check() -> None:
        if received:
            raise Interrupted

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield check
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
