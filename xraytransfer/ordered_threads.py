"""Work in threads whose results come in the order of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when the caller stops early or presses Ctrl-C: no further work begins
        pool.shutdown(wait=True, cancel_futures=True)
