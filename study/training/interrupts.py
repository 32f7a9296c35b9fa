"""Ctrl-C, taken at a moment that suits: a check between steps instead of an exception anywhere."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "stoppable"]


class Interrupted(KeyboardInterrupt):
    """The user, or the system, asked for an end; what was done is saved."""


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Yield a function that raises `Interrupted` once SIGINT or SIGTERM came; a second signal ends at once.

    Outside the main thread signals cannot be taken: the function then never raises.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt

    def check() -> None:
        if came:
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
