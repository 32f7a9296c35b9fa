"""Uploads: the bodies of requests as they arrive, within limits of size, memory and time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import anyio
from starlette.requests import ClientDisconnect

from xraytransfer.radiograph import sniff
from xraytransfer.serve.settings import MIB
from xraytransfer.serve.web.problems import ProblemError

if TYPE_CHECKING:
    from starlette.requests import Request

    from xraytransfer.serve.settings import Settings
    from xraytransfer.serve.web.body_memory import Share

__all__ = ["MEDIA_TYPES", "body_chunks", "check_signature", "media_type", "read_body", "too_large"]

MEDIA_TYPES = ("application/dicom", "image/png", "image/jpeg")
"""Media types that a film may be sent as."""

_TYPES = {kind.partition("/")[2]: kind for kind in MEDIA_TYPES}


def media_type(value: str | None) -> str:
    """Return a Content-Type's type and subtype, lower case, without parameters; empty if absent."""
    return (value or "").split(";", 1)[0].strip().lower()


def check_signature(data: bytes, declared: str) -> None:
    """Raise `ProblemError` (``unsupported-media-type``) if a film's first bytes contradict its media type."""
    actual = _TYPES.get(sniff(data[:132]) or "")
    if actual is None and declared != "application/dicom":
        raise ProblemError("unsupported-media-type", f"sent as {declared}, but the body begins like no such file")
    if actual is not None and declared != actual:
        raise ProblemError("unsupported-media-type", f"sent as {declared}, but the body is {actual}: name what it is")


async def read_body(request: Request, settings: Settings, share: Share) -> bytes:
    """Return the whole body of a request that carries one film; errors as in `body_chunks`."""
    return b"".join([chunk async for chunk in body_chunks(request, settings, settings.max_file_bytes, share)])


async def body_chunks(request: Request, settings: Settings, limit: int, share: Share) -> AsyncIterator[bytes]:
    """Yield a request's body as it arrives; time that the consumer takes is not counted against the client.

    Parameters
    ----------
    request : Request
    settings : Settings
        How fast a body must arrive.
    limit : int
        Most bytes.
    share : Share
        Grows by each chunk's size.

    Raises
    ------
    ProblemError
        ``unsupported-encoding`` or ``body-too-large``, from the head alone where it says so; ``body-too-large``,
        ``busy`` or ``slow-upload`` later.
    ClientDisconnect
        The client left.
    """
    _check_head(request, limit)
    pace, size, more = _Pace(settings), 0, True
    while more:
        chunk = b""
        with anyio.move_on_after(settings.idle_timeout_s):
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        pace.check(size)
        if chunk:
            share.grow(len(chunk))
            yield chunk
        pace.resume()


def too_large(limit: int) -> ProblemError:
    """Return the refusal of a body larger than a limit in bytes."""
    return ProblemError("body-too-large", f"larger than the limit of {limit / MIB:g} MiB")


def _check_head(request: Request, limit: int) -> None:
    """Refuse, before anything is read, compressed bodies and those announced as too large."""
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


class _Pace:
    """How fast a body must arrive: never silent for long, and on average faster than a rate."""

    def __init__(self, settings: Settings) -> None:
        self._patience_s = settings.idle_timeout_s
        self._rate = settings.min_upload_rate
        self._size = 0
        self._waited_s = 0.0
        self._since = time.monotonic()

    def check(self, size: int) -> None:
        """Raise `ProblemError` (``slow-upload``) if a body that has come to `size` bytes comes too slowly."""
        now = time.monotonic()
        elapsed, self._since = now - self._since, now
        self._waited_s += elapsed
        stopped = size == self._size and elapsed >= self._patience_s
        if stopped or self._waited_s > self._patience_s + size / self._rate:
            raise ProblemError(
                "slow-upload",
                f"the body came more slowly than {self._rate // 1024} KiB/s, or not at all for {self._patience_s:g} s",
            )
        self._size = size

    def resume(self) -> None:
        """Leave out the time until now: the client was not waited for."""
        self._since = time.monotonic()
