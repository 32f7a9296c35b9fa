"""Connections: ended when nothing happens on them where something should.

uvicorn times out a connection that is idle after an answer. It waits without a limit for a connection's first request,
for the rest of a head that has begun, for the rest of a refused body, and for a client that does not read its answer.
This watcher ends such connections.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from uvicorn.protocols.http.h11_impl import H11Protocol

from xraytransfer.serve.log import log

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Answering", "Connections", "raise_open_files"]

_Address: TypeAlias = "tuple[str, int] | None"
_Ends: TypeAlias = tuple[_Address, _Address]
"""The client's address and the server's: what tells a connection from all others that are open."""

_INTERVAL_S = 0.5
_WRITING_FACTOR = 6  # answers with pictures may go to phones


def raise_open_files(wanted: int) -> None:
    """Raise this process's limit of open files to what its connections may need; log where that is not allowed."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    if allowed < wanted:
        log.warning(
            "at most %d files may be open, fewer than the %d that connections may need: raise the limit "
            "(ulimit -n, LimitNOFILE=), or strangers can use them up",
            allowed,
            wanted,
        )


class Connections:
    """The open connections: which of them have a request that is being answered, and which have been stuck for long.

    uvicorn takes a class of `asyncio.Protocol`, whose methods asyncio calls when a connection begins and ends. The
    addresses of an ASGI scope tell which connection a request came on. Nothing else of uvicorn is used.

    Parameters
    ----------
    limit_s : float
        Seconds that a connection may spend between requests: the next request's head has not arrived in full, or
        the body of the last one still arrives after its answer. A client may take six times as long to read an answer.
    most : int
        Connections that may be open; beyond it those between requests are ended, the oldest first.
    """

    def __init__(self, limit_s: float, most: int) -> None:
        self._limit_s, self._most = limit_s, most
        self._open: dict[asyncio.Transport, _Ends] = {}
        self._answering: Counter[_Ends] = Counter()

    def __len__(self) -> int:
        """Return how many connections are open."""
        return len(self._open)

    def protocol(self) -> type[H11Protocol]:
        """Return uvicorn's protocol with h11, whose connections are added here.

        h11 bounds heads, trailers and chunk extensions, which httptools does not.
        """
        opened = self._open

        class Watched(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                self._watched = transport
                opened[transport] = (_address(transport, "peername"), _address(transport, "sockname"))
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                opened.pop(self._watched, None)
                super().connection_lost(exc)

        return Watched

    @contextmanager
    def answering(self, scope: Scope) -> Generator[None]:
        """Note that a connection's request is being answered."""
        ends = (scope.get("client"), scope.get("server"))
        self._answering[ends] += 1
        try:
            yield
        finally:
            self._answering[ends] -= 1
            if not self._answering[ends]:
                del self._answering[ends]

    async def watch(self) -> None:
        """End every connection that is stuck; runs until it is cancelled."""
        since: dict[asyncio.Transport, tuple[str, float]] = {}
        while True:
            await asyncio.sleep(_INTERVAL_S)
            now = time.monotonic()
            before, since = since, {}
            for transport in list(self._open):
                state = self._state(transport)
                if state == "answering":
                    continue
                last_state, started = before.get(transport, (state, now))
                since[transport] = (state, started if last_state == state else now)
                limit = self._limit_s * _WRITING_FACTOR if state == "writing" else self._limit_s
                if now - since[transport][1] > limit:
                    transport.abort()
            for transport in _oldest_waiting(since, len(self._open) - self._most):
                transport.abort()

    def _state(self, transport: asyncio.Transport) -> str:
        if transport.get_write_buffer_size() > 0:
            return "writing"
        return "answering" if self._open[transport] in self._answering else "between"


def _address(transport: asyncio.Transport, name: str) -> _Address:
    """Return an address as ASGI scopes hold it; None for a client that has left already."""
    found = transport.get_extra_info(name)
    return None if found is None else (str(found[0]), int(found[1]))


def _oldest_waiting(since: dict[asyncio.Transport, tuple[str, float]], number: int) -> list[asyncio.Transport]:
    """Return up to `number` connections between requests, those first that have been so for longest."""
    waiting = [transport for transport, (state, _) in since.items() if state == "between"]
    return sorted(waiting, key=lambda transport: since[transport][1])[: max(0, number)]


class Answering:
    """ASGI layer that tells `Connections` of the requests that are being answered."""

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app, self._connections = app, connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI says."""
        with self._connections.answering(scope):
            await self._app(scope, receive, send)
