"""Held bytes: how much memory the bodies of all requests take together, and its limit."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xraytransfer.serve.web.problems import ProblemError

if TYPE_CHECKING:
    from xraytransfer.serve.metrics import Metrics

__all__ = ["HeldBytes", "Share"]


class HeldBytes:
    """How much memory the bodies of all requests take, and the limit for it."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.limit = limit
        self.held = 0
        self._metrics = metrics

    @contextmanager
    def hold(self) -> Generator[Share]:
        """Give out a share that can grow, and take it back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.shrink(share.size)

    def change(self, size: int) -> None:
        """Add to what is held, or take away."""
        self.held += size
        self._metrics.held_bytes.set(self.held)


class Share:
    """One request's part of the memory."""

    def __init__(self, memory: HeldBytes) -> None:
        self._memory = memory
        self.size = 0

    def grow(self, size: int) -> None:
        """Take more, or raise `ProblemError` (``busy``) where the server holds too much already."""
        if self._memory.held + size > self._memory.limit:
            raise ProblemError("busy", "the server holds as many films as it may; try again soon", {"Retry-After": "2"})
        self.size += size
        self._memory.change(size)

    def shrink(self, size: int) -> None:
        """Give back; no more than is left of it, for films may end after their request has."""
        size = min(size, self.size)
        self.size -= size
        self._memory.change(-size)
