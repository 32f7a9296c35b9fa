"""Connections: ended when nothing happens on them where something should.

uvicorn times out connections that are idle after an answer. It waits for ever for the first request's head,
for the rest of a head that has begun, and for a refused body that still arrives. Here these end as well.
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


async def watch_connections(server: uvicorn.Server, limit_s: float) -> None:
    """End, until cancelled, every connection that is between requests for longer than `limit_s` seconds.

    Parameters
    ----------
    server : uvicorn.Server
        Both of its HTTP implementations tell the same of a connection: `cycle` is the request that is being
        answered, `cycle.response_complete` whether it has been.
    limit_s : float
        Between requests means: no request's head has come in full, or the last one has been answered.
    """
    since: dict[Protocols, float] = {}
    while True:
        await asyncio.sleep(_EVERY_S)
        now = time.monotonic()
        connections = list(server.server_state.connections)
        between = [connection for connection in connections if _between_requests(connection)]
        since = {connection: since.get(connection, now) for connection in between}
        for connection, started in since.items():
            if now - started > limit_s:
                connection.transport.abort()


def _between_requests(connection: Protocols) -> bool:
    cycle = getattr(connection, "cycle", None)
    return cycle is None or cycle.response_complete
