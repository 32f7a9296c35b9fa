"""Security: checks of load, token, host name and origin; and the security headers of every answer."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from xraytransfer.serve.web.problems import ProblemError, problem_response
from xraytransfer.serve.web.wrong_tokens import WrongTokens

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from xraytransfer.serve.metrics import Metrics
    from xraytransfer.serve.settings import Settings

__all__ = ["Guard"]

_HEADERS = {
    # Nothing from other sites and nothing inline; films and maps are data: and blob: pictures.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",  # answers describe patients
}
_SOON = {"Retry-After": "2"}
_HOST = re.compile(r"([^\s@/?#\\:\[\]]*|\[[0-9a-f:.]+\])(:[0-9]*)?")  # RFC 9110 section 7.2: no user, no path
_PROBES = frozenset({"/healthz", "/readyz"})


class Guard:
    """ASGI layer that refuses callers before their body is read, and sets security headers on every answer.

    Parameters
    ----------
    app : ASGI application
    settings : Settings
        Token, hosts, origins, TLS, requests at once.
    metrics : Metrics
        Where refusals are counted.
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._running = 0  # requests that were let in and are not answered
        self._max_requests = settings.max_requests
        self._hosts = frozenset(host.lower() for host in settings.hosts)
        self._origins = frozenset(settings.cors_origins)
        self._token = None if settings.token is None else _digest(settings.token.encode("ascii"))
        self._wrong_tokens = WrongTokens(settings.max_wrong_tokens)
        self._headers = dict(_HEADERS)
        if settings.tls_certificate is not None:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check_load(scope["path"])
            headers = Headers(scope=scope)
            self._check_origin(scope["path"], headers)
            # Open without a token: the page's own files, the reference, and the probes.
            guarded = scope["path"].startswith("/v1/") or scope["path"] == "/metrics"
            if self._token is not None and guarded and scope["method"] != "OPTIONS":
                self._check_token(headers, (scope.get("client") or ("",))[0], self._token)
        except ProblemError as problem:
            self._metrics.refusals.labels(problem.reason).inc()
            await problem_response(problem)(scope, receive, send_with_headers)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._running -= 1

    def _check_load(self, path: str) -> None:
        """Refuse a request beyond the limit; probes are answered however busy the server is."""
        if self._running >= self._max_requests and path not in _PROBES:
            raise ProblemError("busy", "the server answers as many requests as it may; try again soon", _SOON)

    def _check_origin(self, path: str, headers: Headers) -> None:
        host = headers.get("host", "").lower()
        if not _HOST.fullmatch(host):
            raise ProblemError("wrong-host", "the Host header is no host name with an optional port")
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        # Load balancers and containers probe by address; the answers reveal nothing.
        if "*" not in self._hosts and name not in self._hosts and path not in _PROBES:
            raise ProblemError("wrong-host", "the Host header is none of the names that this server was given")
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and origin.split("://")[-1].lower() != host:
            raise ProblemError(
                "cross-origin", "a page of another origin may not call, unless this server was told to allow it"
            )

    def _check_token(self, headers: Headers, address: str, expected: bytes) -> None:
        if wait_s := self._wrong_tokens.wait_s(address):
            raise ProblemError(
                "wrong-tokens", f"send the right token, not before {wait_s} s", {"Retry-After": str(wait_s)}
            )
        kind, _, token = headers.get("authorization", "").partition(" ")
        # The digests have equal lengths, so the comparison's time reveals nothing about the token.
        same = hmac.compare_digest(_digest(token.strip().encode("latin-1")), expected)
        if kind.lower() != "bearer" or not same:
            if token:
                self._wrong_tokens.note(address)
            raise ProblemError(
                "unauthorized",
                "send the header 'Authorization: Bearer <token>'",
                {"WWW-Authenticate": 'Bearer realm="xraytransfer"'},
            )


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
