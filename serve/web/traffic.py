"""Traffic: every request is counted, timed and logged; unexpected errors become problem documents."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from xraytransfer.serve.log import film_log
from xraytransfer.serve.web.problems import as_problem, problem_response

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from xraytransfer.serve.metrics import Metrics

__all__ = ["Traffic"]

_METHODS = ("GET", "HEAD", "POST", "OPTIONS")


class Traffic:
    """ASGI layer that counts and logs requests by route, method, status and time, but nothing that a client wrote.

    Parameters
    ----------
    app : ASGI application
    metrics : Metrics
    routes : collection of str
        Known paths; any other path is counted as ``other``.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: Collection[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = 0

        async def watched_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception as error:  # noqa: BLE001 - an error of this program, which is logged as one
            problem = as_problem(error)
            self._metrics.refusals.labels(problem.reason).inc()
            if status == 0:
                await problem_response(problem)(scope, receive, watched_send)
        finally:
            seconds = time.monotonic() - started
            route = scope["path"] if scope["path"] in self._routes else "other"
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.latency.labels(route).observe(seconds)
            film_log.info("%s %s %d %.0f ms", method, route, status, 1000 * seconds)
