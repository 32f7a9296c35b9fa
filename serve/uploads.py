"""Uploads: bodies of requests, read within limits of size, number, memory and time. Never on disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import anyio
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from xraytransfer.serve.problems import ProblemError
from xraytransfer.serve.protocol import RECEIVE_INTO
from xraytransfer.serve.settings import MIB

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.requests import Request

    from xraytransfer.serve.metrics import Metrics
    from xraytransfer.serve.protocol import Receiver
    from xraytransfer.serve.settings import Settings

__all__ = ["MEDIA_TYPES", "HeldBytes", "Part", "check_head", "check_signature", "media_type", "read_body", "read_parts"]

MEDIA_TYPES = ("application/dicom", "image/png", "image/jpeg")
"""What a film may be sent as."""

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_MAX_PART_HEAD = 8 * 1024
_ROOM = 64 * MIB  # made for a body at once; a larger one grows


class HeldBytes:
    """How much memory the bodies of all requests take, and the limit for it."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.limit = limit
        self.held = 0
        self._metrics = metrics

    @contextmanager
    def hold(self) -> Generator[Share]:
        """Give out a share that can grow, and take it back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.shrink(share.size)

    def change(self, size: int) -> None:
        """Add to what is held, or take away."""
        self.held += size
        self._metrics.held_bytes.set(self.held)


class Share:
    """One request's part of the memory."""

    def __init__(self, memory: HeldBytes) -> None:
        self._memory = memory
        self.size = 0

    def grow(self, size: int) -> None:
        """Take more, or raise `ProblemError` (``busy``) where the server holds too much already."""
        if self._memory.held + size > self._memory.limit:
            raise ProblemError("busy", "the server holds as many films as it may; try again soon", {"Retry-After": "2"})
        self.size += size
        self._memory.change(size)

    def shrink(self, size: int) -> None:
        """Give back; no more than is left of it, for films may end after their request has."""
        size = min(size, self.size)
        self.size -= size
        self._memory.change(-size)


@dataclass(frozen=True)
class Part:
    """One film of a multipart request.

    Attributes
    ----------
    data : bytes
    media_type : str
        As the part states it, lower case; empty if it does not.
    """

    data: bytes
    media_type: str


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
        raise _too_large(limit)


def check_signature(data: bytes, declared: str) -> None:
    """Refuse a film whose first bytes are not what its media type says."""
    found = next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), None)
    if found is None and declared != "application/dicom":
        raise ProblemError("unsupported-media-type", f"sent as {declared}, but the body is none")
    if found is not None and declared != found:
        raise ProblemError("unsupported-media-type", f"sent as {declared}, but the body is {found}: name what it is")


async def read_body(request: Request, settings: Settings, share: Share) -> bytes:
    """Return the whole body of a request that carries one film.

    Raises
    ------
    ProblemError
        ``body-too-large``, ``busy`` or ``slow-upload``.
    """
    check_head(request, settings.max_file_bytes)
    length = request.headers.get("content-length", "")
    body = _Body(int(length) if length.isdigit() else 0, settings.max_file_bytes, share)
    pace = _Pace(settings)
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
        self._file = BytesIO()
        self._written = 0
        self._expected = expected if expected <= _ROOM else 0
        self._receiver: Receiver | None = None
        if self._expected:  # growing would copy
            share.grow(self._expected)
            self._file.seek(self._expected - 1)
            self._file.write(b"\0")
            self._file.seek(0)

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self._written + (self._receiver.size if self._receiver else 0)

    def write(self, chunk: bytes) -> None:
        """Take a chunk, or raise `ProblemError`."""
        self._written += len(chunk)
        if self._written > self._limit:
            raise _too_large(self._limit)
        if self._written > self._share.size:
            self._share.grow(self._written - self._share.size)
        self._file.write(chunk)

    def receive_directly(self, request: Request) -> None:
        """Have the rest received into its place, where its length is known and the server can."""
        into = request.scope.get(RECEIVE_INTO)
        if into is not None and self._expected > self._written and self._receiver is None:
            self._receiver = into(self._file.getbuffer()[self._written :])

    def take(self) -> bytes:
        """Return the bytes; once, and without a copy."""
        self._file.truncate(self.size)
        return self._file.getvalue()


class _Pace:
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


async def read_parts(request: Request, settings: Settings, share: Share) -> AsyncIterator[Part]:
    """Yield the films of a multipart request as they arrive; no more is read while one is being handled.

    Raises
    ------
    ProblemError
        ``bad-multipart``, ``body-too-large``, ``too-many-files``, ``busy`` or ``slow-upload``.
    """
    check_head(request, settings.max_request_bytes)
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:  # RFC 2046 section 5.1.1
        raise ProblemError("bad-multipart", "the Content-Type names no boundary of 1 to 70 characters")
    films = _Films(boundary, settings)
    total = 0
    async for chunk in _paced(request, settings):
        total += len(chunk)
        if total > settings.max_request_bytes:
            raise _too_large(settings.max_request_bytes)
        share.grow(len(chunk))
        # Small steps bound what one chunk with thousands of parts can make of itself.
        for part in films.feed(chunk):
            yield part
    films.end()


class _Films:
    """Multipart parser: chunks in, whole films out."""

    def __init__(self, boundary: bytes, settings: Settings) -> None:
        self._limit = settings.max_file_bytes
        self._max_files = settings.max_files
        self._parts = 0
        self._name = b""
        self._value = b""
        self._head = 0
        self._headers: dict[bytes, bytes] = {}
        self._data = bytearray()
        self._films: list[Part] = []
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._field,
                "on_header_value": self._field_value,
                "on_header_end": self._header,
                "on_part_data": self._more,
                "on_part_end": self._part,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> Iterator[Part]:
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise ProblemError("bad-multipart", "the body does not follow its boundary") from None
        films, self._films = self._films, []
        yield from films

    def end(self) -> None:
        """Refuse a body whose last boundary never came: its last film may be cut short."""
        if not self._ended:
            raise ProblemError("bad-multipart", "the body ends before its last boundary")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > self._max_files:
            raise ProblemError("too-many-files", f"more than {self._max_files} parts: send several requests")
        self._headers = {}
        self._head = 0
        self._data = bytearray()

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > _MAX_PART_HEAD:
            raise ProblemError("bad-multipart", f"a part's headers are longer than {_MAX_PART_HEAD} bytes")

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._count_head(end - start)
        self._name += data[start:end]

    def _field_value(self, data: bytes, start: int, end: int) -> None:
        self._count_head(end - start)
        self._value += data[start:end]

    def _header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _more(self, data: bytes, start: int, end: int) -> None:
        if len(self._data) + end - start > self._limit:
            raise _too_large(self._limit)
        self._data += data[start:end]

    def _part(self) -> None:
        _, disposition = parse_options_header(self._headers.get(b"content-disposition"))
        if b"filename" not in disposition:
            raise ProblemError("bad-multipart", "a part is no file: send films only, options go into the query")
        kind = self._headers.get(b"content-type", b"").decode("latin-1")
        self._films.append(Part(bytes(self._data), media_type(kind)))
        self._data = bytearray()

    def _end(self) -> None:
        self._ended = True


async def _paced(request: Request, settings: Settings) -> AsyncIterator[bytes]:
    """Yield a body's chunks while they come fast enough; time that the consumer takes does not count."""
    pace, received, more = _Pace(settings), 0, True
    while more:
        chunk = b""
        with anyio.move_on_after(pace.patience):
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, more = message.get("body", b""), message.get("more_body", False)
        received += len(chunk)
        pace.check(received)
        if chunk:
            yield chunk
        pace.resume()


def _too_large(limit: int) -> ProblemError:
    return ProblemError("body-too-large", f"larger than the limit of {limit / MIB:g} MiB")
