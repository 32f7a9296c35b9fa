"""Linger: the answer that a client sees although its request has not ended.

A refusal is sent before the film has arrived. If the server then closed the connection, the rest of the film would
meet a closed socket and the client would see a reset instead of the answer. This layer sends the answer at once and
in full, then reads and drops the rest of the request, and ends the answer only after that.

References
----------
RFC 9112 section 9.6, Tear-down; RFC 9110 section 10.1.1, Expect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Linger"]

_TOTAL_FACTOR = 6  # the whole rest may take this many times the limit for silence


class Linger:
    """ASGI layer that reads what is left of a request between its answer and the end of the answer.

    A client that waits for ``100 Continue`` and is refused sends no body: it gets its answer at once, and the
    connection is closed, because nobody can know whether the body follows.

    Parameters
    ----------
    app : ASGI application
    limit_s : float
        Longest silence, in seconds; the whole rest may take six times as long.
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
        waits_for_continue = _header(scope, b"expect").lower() == b"100-continue"

        async def watched_receive() -> Message:
            nonlocal more, waits_for_continue
            waits_for_continue = False  # the server sends "100 Continue" now
            message = await receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def lingering_send(message: Message) -> None:
            if waits_for_continue:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
                await send(message)
                return
            if message["type"] != "http.response.body" or message.get("more_body", False) or not more:
                await send(message)
                return
            await send({**message, "more_body": True})
            with anyio.move_on_after(_TOTAL_FACTOR * self._limit_s):
                silent = False
                while more and not silent:
                    with anyio.move_on_after(self._limit_s) as silence:
                        await watched_receive()
                    silent = silence.cancelled_caught
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, watched_receive, lingering_send)


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


def _has_body(scope: Scope) -> bool:
    return _header(scope, b"content-length") not in {b"", b"0"} or bool(_header(scope, b"transfer-encoding"))
