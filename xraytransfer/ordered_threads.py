"""Threads whose results come in the order of their inputs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["in_order"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def in_order(work: Callable[[Item], Outcome], items: Iterable[Item], workers: int, *, ahead: int) -> Iterator[Outcome]:
    """Yield ``work(item)`` for each item, in order, computed in threads.

    Parameters
    ----------
    work : callable
        Called in `workers` threads at once.
    items : iterable
        Drawn in the caller's thread, a little ahead of the results.
    workers : int
        Number of threads.
    ahead : int
        Most items that are drawn and whose results are not yet yielded.
    """
    pending: deque[Future[Outcome]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="xraytransfer")
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) >= ahead:
                yield _next(pending)
        while pending:
            yield _next(pending)
    finally:  # also when the caller stops early or presses Ctrl-C: no further work begins
        # Results are waited for before threads: until Python 3.12 a second Ctrl-C inside Thread.join marks a thread as
        # ended that still computes, and ONNX Runtime then ends the whole process when Python exits.
        pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in pending if not future.cancelled()])
        pool.shutdown()


def _next(pending: deque[Future[Outcome]]) -> Outcome:
    """Return the first result, and drop it from those that are waited for only when it is there."""
    outcome = pending[0].result()
    pending.popleft()
    return outcome
