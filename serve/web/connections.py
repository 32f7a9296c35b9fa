"""Connections: ended when nothing happens on them where something should.

uvicorn times out connections that are idle after an answer. It waits for ever for the first request's head,
for the rest of a head that has begun, for a refused body that still arrives, and for a client that takes no answer.
Here these end as well.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.server import Protocols

__all__ = ["watch_connections"]

_EVERY_S = 0.5
_PATIENCE_WRITING = 6  # times the limit: answers with pictures may go to phones


async def watch_connections(server: uvicorn.Server, limit_s: float) -> None:
    """End, until cancelled, every connection that is stuck.

    Parameters
    ----------
    server : uvicorn.Server
        Both of its HTTP implementations tell the same of a connection: `cycle` is the request that is being
        answered, `cycle.response_complete` whether it has been.
    limit_s : float
        Seconds that a connection may be between requests: no request's head has come in full, or the last one
        has been answered. Six times as long for a client to take an answer.
    """
    since: dict[Protocols, tuple[str, float]] = {}
    while True:
        await asyncio.sleep(_EVERY_S)
        now = time.monotonic()
        before, since = since, {}
        for connection in list(server.server_state.connections):
            state = _state(connection)
            if state == "answering":
                continue
            known, started = before.get(connection, (state, now))
            since[connection] = (state, started if known == state else now)
            patience = limit_s * _PATIENCE_WRITING if state == "writing" else limit_s
            if now - since[connection][1] > patience:
                connection.transport.abort()


def _state(connection: Protocols) -> str:
    if connection.transport.get_write_buffer_size() > 0:
        return "writing"
    cycle = getattr(connection, "cycle", None)
    return "between" if cycle is None or cycle.response_complete else "answering"
