"""Cores: where there are as many threads that score films as cores, each keeps to one.

The event loop needs a core every few milliseconds. Left alone, Linux then now and then leaves two scoring threads on
one core and the other one idle for a while: 3 % of the films that two cores can score.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
from collections.abc import Callable

__all__ = ["keep_to_one"]


def keep_to_one(threads: int) -> Callable[[], None]:
    """Return a function that so many threads call, each once: it binds the calling thread to a core of its own.

    It does nothing where the process may use more or fewer cores than there are threads, and elsewhere than on Linux.
    """
    if sys.platform != "linux":
        return lambda: None
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()
    allowed = os.sched_getaffinity(0)
    if len(allowed) == threads > 1:
        for core in sorted(allowed):
            cores.put(core)

    def keep() -> None:
        # empty: not to be bound; refused: a sandbox that does not allow it, which costs a little speed and nothing else
        with contextlib.suppress(queue.Empty, OSError):
            os.sched_setaffinity(0, {cores.get_nowait()})

    return keep
