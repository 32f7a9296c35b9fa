"""Uploads: what a body may be, and the body of a request that carries one film; limits of size, memory and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import numpy as np
from starlette.requests import ClientDisconnect

from xraytransfer.radiograph import sniff
from xraytransfer.serve.protocol import RECEIVE_INTO
from xraytransfer.serve.settings import MIB
from xraytransfer.serve.web.problems import ProblemError

if TYPE_CHECKING:
    from starlette.requests import Request

    from xraytransfer.serve.receiver import Receiver
    from xraytransfer.serve.settings import Settings
    from xraytransfer.serve.web.body_memory import Share

__all__ = ["MEDIA_TYPES", "Pace", "check_head", "check_signature", "media_type", "read_body", "too_large"]

MEDIA_TYPES = ("application/dicom", "image/png", "image/jpeg")
"""What a film may be sent as."""

_TYPES = {kind.partition("/")[2]: kind for kind in MEDIA_TYPES}
_ROOM = 64 * MIB  # made for a body at once; a larger one grows


def media_type(value: str | None) -> str:
    """Return a Content-Type's type and subtype, lower case, without parameters; empty if absent."""
    return (value or "").split(";", 1)[0].strip().lower()


def check_head(request: Request, limit: int) -> None:
    """Refuse, before anything is read, compressed bodies and those that say they are too large."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise ProblemError(
            "unsupported-encoding",
            "the body is compressed (Content-Encoding): send it as it is",
            {"Accept-Encoding": "identity"},
        )
    length = request.headers.get("content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        raise too_large(limit)


def check_signature(data: bytes | memoryview, declared: str) -> None:
    """Refuse a film whose first bytes are not what its media type says."""
    found = _TYPES.get(sniff(data[:132]) or "")
    if found is None and declared != "application/dicom":
        raise ProblemError("unsupported-media-type", f"sent as {declared}, but the body begins like no such file")
    if found is not None and declared != found:
        raise ProblemError("unsupported-media-type", f"sent as {declared}, but the body is {found}: name what it is")


async def read_body(request: Request, settings: Settings, share: Share) -> memoryview:
    """Return the whole body of a request that carries one film, read-only.

    Raises
    ------
    ProblemError
        ``body-too-large``, ``busy`` or ``slow-upload``.
    """
    check_head(request, settings.max_file_bytes)
    length = request.headers.get("content-length", "")
    body = _Body(int(length) if length.isdigit() else 0, settings.max_file_bytes, share)
    pace = Pace(settings)
    while True:
        message = None
        with anyio.move_on_after(pace.patience):
            message = await request.receive()
        if message is None:
            pace.check(body.size)
            continue
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body.write(message.get("body", b""))
        if not message.get("more_body", False):
            return body.take()
        body.receive_directly(request)
        pace.check(body.size)


class _Body:
    """A film's bytes as they arrive, within limits; the memory for what is announced is made at once.

    Parameters
    ----------
    expected : int
        Bytes, as the request's head says; 0 if it does not.
    limit : int
        Most bytes.
    share : Share
        Memory that they may take.
    """

    def __init__(self, expected: int, limit: int, share: Share) -> None:
        self._limit = limit
        self._share = share
        self._written = 0
        self._receiver: Receiver | None = None
        # In one piece, for growing copies; by numpy, which does not write zeros there first.
        self._whole = np.empty(expected, np.uint8).data if 0 < expected <= _ROOM else None
        self._growing = bytearray()
        if self._whole is not None:
            share.grow(expected)

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self._written + (self._receiver.arrived if self._receiver else 0)

    def write(self, chunk: bytes) -> None:
        """Take a chunk, or raise `ProblemError`."""
        begin, self._written = self._written, self._written + len(chunk)
        if self._written > self._limit:
            raise too_large(self._limit)
        if self._whole is None:
            self._share.grow(len(chunk))
            self._growing += chunk
        elif self._written > len(self._whole):
            raise ProblemError("bad-request", "the body is longer than its Content-Length")
        else:
            self._whole[begin : self._written] = chunk

    def receive_directly(self, request: Request) -> None:
        """Have the rest received into its place, where its length is known and the server can."""
        into = request.scope.get(RECEIVE_INTO)
        if into is None or self._whole is None or self._receiver is not None:
            return
        if self._written < len(self._whole):
            self._receiver = into(self._whole[self._written :])

    def take(self) -> memoryview:
        """Return the bytes without a copy; to be called once, at the end."""
        return memoryview(self._growing if self._whole is None else self._whole)[: self.size].toreadonly()


class Pace:
    """How fast a body must come."""

    def __init__(self, settings: Settings) -> None:
        self.patience = settings.idle_timeout_s
        self._rate = settings.min_upload_rate
        self._size = 0
        self._waited = 0.0
        self._since = anyio.current_time()

    def check(self, size: int) -> None:
        """Raise `ProblemError` if, of a body that has come to this size, nothing came lately, or too little ever."""
        now = anyio.current_time()
        elapsed, self._since = now - self._since, now
        self._waited += elapsed
        stopped = size == self._size and elapsed >= self.patience
        if stopped or self._waited > self.patience + size / self._rate:
            raise ProblemError(
                "slow-upload",
                f"the body came more slowly than {self._rate // 1024} KiB/s, or not at all for {self.patience:g} s",
            )
        self._size = size

    def resume(self) -> None:
        """Do not count the time until now: the client was not waited for."""
        self._since = anyio.current_time()


def too_large(limit: int) -> ProblemError:
    """Return the refusal of a body larger than a limit in bytes."""
    return ProblemError("body-too-large", f"larger than the limit of {limit / MIB:g} MiB")
