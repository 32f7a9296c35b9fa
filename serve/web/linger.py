"""Linger: an answer that is given before its request has ended reaches the client.

A refusal is sent before the film has come. If the connection ended then (clients and proxies may ask for that with
``Connection: close``), the rest of the film would meet a closed socket, and the client would see a reset instead of
the answer. So the answer is sent in full at once, the rest of the request is read and dropped, and only then is the
answer said to be complete. Clients that look for an answer while they send see it at once; the others when they have
sent their film.

References
----------
RFC 9112 section 9.6, Tear-down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from xraytransfer.serve.protocol import DROP_REST

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Linger"]

_PATIENCE = 6  # times the limit, in all: films come slowly from afar


class Linger:
    """Read what is left of a request between its answer and the end of it.

    Parameters
    ----------
    app : ASGI application
    limit_s : float
        Longest time for which nothing comes, in seconds; six times as long for all that is left.
    """

    def __init__(self, app: ASGIApp, limit_s: float) -> None:
        self._app = app
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI says."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._app(scope, receive, send)
            return
        more = True
        # A client that waits for "100 Continue" and is refused sends no body; its connection cannot be used again.
        waits = _header(scope, b"expect").lower() == b"100-continue"

        async def watched_receive() -> Message:
            nonlocal more, waits
            waits = False
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def read_rest() -> None:
            drop = scope.get(DROP_REST)
            dropped = drop() if drop is not None else None
            comes = True
            while more and comes:
                before, comes = dropped.arrived if dropped else 0, False
                with anyio.move_on_after(self._limit_s):
                    await watched_receive()
                    comes = True
                comes = comes or (dropped.arrived if dropped else 0) > before

        async def lingering_send(message: Message) -> None:
            if waits and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            if waits or message["type"] != "http.response.body" or message.get("more_body", False) or not more:
                await send(message)
                return
            await send({**message, "more_body": True})
            with anyio.move_on_after(_PATIENCE * self._limit_s):
                await read_rest()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, watched_receive, lingering_send)


def _header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _has_body(scope: Scope) -> bool:
    return _header(scope, b"content-length") not in {b"", b"0"} or bool(_header(scope, b"transfer-encoding"))
