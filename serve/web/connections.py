"""Connections: ended when nothing happens on them where something should.

uvicorn times out a connection that is idle after an answer. It waits without a limit for a connection's first request,
for the rest of a head that has begun, for the rest of a refused body, and for a client that does not read its answer.
This watcher ends such connections.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from xraytransfer.serve.log import log

if TYPE_CHECKING:
    import uvicorn

__all__ = ["raise_open_files", "watch_connections"]

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


async def watch_connections(server: uvicorn.Server, limit_s: float, most: int) -> None:
    """End every connection that is stuck; runs until it is cancelled.

    Parameters
    ----------
    server : uvicorn.Server
        Its HTTP implementations show the same of a connection: ``cycle`` is the request that is being answered, and
        ``cycle.response_complete`` says whether it has been.
    limit_s : float
        Seconds that a connection may spend between requests: the next request's head has not arrived in full, or
        the body of the last one still arrives after its answer. A client may take six times as long to read an answer.
    most : int
        Connections that may be open; beyond it those between requests are ended, the oldest first.
    """
    since: dict[Any, tuple[str, float]] = {}
    while True:
        await asyncio.sleep(_INTERVAL_S)
        now = time.monotonic()
        before, since = since, {}
        for connection in list(server.server_state.connections):
            state = _state(connection)
            if state == "answering":
                continue
            last_state, started = before.get(connection, (state, now))
            since[connection] = (state, started if last_state == state else now)
            limit = limit_s * _WRITING_FACTOR if state == "writing" else limit_s
            if now - since[connection][1] > limit:
                connection.transport.abort()
        for connection in _oldest_waiting(since, len(server.server_state.connections) - most):
            connection.transport.abort()


def _oldest_waiting(since: dict[Any, tuple[str, float]], number: int) -> list[Any]:
    """Return up to `number` connections between requests, those first that have been so for longest."""
    waiting = [connection for connection, (state, _) in since.items() if state == "between"]
    return sorted(waiting, key=lambda connection: since[connection][1])[: max(0, number)]


def _state(connection: Any) -> str:
    if connection.transport.get_write_buffer_size() > 0:
        return "writing"
    cycle = getattr(connection, "cycle", None)
    return "between" if cycle is None or cycle.response_complete else "answering"
