"""Body memory: how much memory the bodies of all requests take together, and its limit."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xraytransfer.serve.web.problems import ProblemError

if TYPE_CHECKING:
    from xraytransfer.serve.metrics import Metrics

__all__ = ["BodyMemory", "Share"]


class BodyMemory:
    """The memory that the bodies of all requests take together.

    Parameters
    ----------
    limit : int
        Most bytes.
    metrics : Metrics
        Where the bytes held are shown.
    """

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.limit = limit
        self.held = 0
        self._metrics = metrics

    @contextmanager
    def share(self) -> Generator[Share]:
        """Give one request a share that can grow, and take it back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.shrink(share.size)

    def change(self, size: int) -> None:
        """Add `size` bytes to what is held; a negative size takes them away."""
        self.held += size
        self._metrics.held_bytes.set(self.held)


class Share:
    """One request's part of the memory; it grows with the bytes that have arrived, not with those announced."""

    def __init__(self, memory: BodyMemory) -> None:
        self._memory = memory
        self.size = 0

    def grow(self, size: int) -> None:
        """Take `size` bytes more.

        Raises
        ------
        ProblemError
            ``busy``: all requests together would hold more than the limit.
        """
        if self._memory.held + size > self._memory.limit:
            raise ProblemError("busy", "the server holds as many films as it may; try again soon", {"Retry-After": "2"})
        self.size += size
        self._memory.change(size)

    def shrink(self, size: int) -> None:
        """Give back `size` bytes, at most all that are left: films may end after their request has ended."""
        size = min(size, self.size)
        self.size -= size
        self._memory.change(-size)
