"""Multipart: the films of a multipart request, one after the other as they arrive, never on disk.

References
----------
RFC 7578, multipart/form-data; RFC 2046 section 5.1.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from xraytransfer.serve.web.problems import ProblemError
from xraytransfer.serve.web.uploads import body_chunks, media_type, too_large

if TYPE_CHECKING:
    from starlette.requests import Request

    from xraytransfer.serve.settings import Settings
    from xraytransfer.serve.web.body_memory import Share

__all__ = ["Part", "read_parts"]

_MAX_PART_HEAD = 8 * 1024


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


async def read_parts(request: Request, settings: Settings, share: Share) -> AsyncIterator[Part]:
    """Yield the films of a multipart request as they arrive; nothing is read while the consumer handles one.

    Raises
    ------
    ProblemError
        ``bad-multipart``, ``too-many-files``, or one of those of `body_chunks`.
    """
    _, options = parse_options_header(request.headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:  # RFC 2046 section 5.1.1
        raise ProblemError("bad-multipart", "the Content-Type names no boundary of 1 to 70 characters")
    films = _Films(boundary, settings)
    async for chunk in body_chunks(request, settings, settings.max_request_bytes, share):
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
        self._pieces: list[bytes] = []
        self._size = 0
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
        self._pieces, self._size = [], 0

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
        self._size += end - start
        if self._size > self._limit:
            raise too_large(self._limit)
        self._pieces.append(data[start:end])

    def _part(self) -> None:
        _, disposition = parse_options_header(self._headers.get(b"content-disposition"))
        if b"filename" not in disposition:
            raise ProblemError("bad-multipart", "a part is no file: send films only, options go into the query")
        kind = self._headers.get(b"content-type", b"").decode("latin-1")
        self._films.append(Part(b"".join(self._pieces), media_type(kind)))
        self._pieces = []

    def _end(self) -> None:
        self._ended = True
