"""The protocol: uvicorn's, with a short way for large bodies.

uvicorn hands a body to the application in messages of at most a quarter of a megabyte, each copied three times and
each waking a task. For films of ten megabytes that costs half as much as scoring them. Here an application may give
the memory that the rest of a body is to be received into, and gets one message when it is complete; or have the rest
received and dropped. Where `RECEIVE_INTO` and `DROP_REST` are not in a request's scope (another server), messages
come as ever, as do the chunks of a body of unknown length.

Nor does uvicorn limit what is no body: heads, trailers, the lines between chunks. Here more than 64 KiB of it, and an
eighth of the body, ends the connection.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from xraytransfer.serve.receiver import Receiver

__all__ = ["DROP_REST", "RECEIVE_INTO", "DirectProtocol"]

RECEIVE_INTO = "xraytransfer.receive_into"
"""Key of a request's scope: a function from a memoryview to its `Receiver`.

To be called right after a message with ``more_body``; the memory must hold exactly the rest of the body.
"""

DROP_REST = "xraytransfer.drop_rest"
"""Key of a request's scope: a function that has the rest of the body dropped; to be called at any time.

It returns the `Receiver` that does it; None where there is no rest, or none of known length.
"""

_log = logging.getLogger(__name__)
_FRAME_BYTES = 64 * 1024  # of head, chunk sizes and trailers; uvicorn's other implementation allows as much
_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class DirectProtocol(HttpToolsProtocol):
    """HTTP/1.1 by httptools, with `RECEIVE_INTO` and `DROP_REST`."""

    _fed = 0  # bytes of the request that went through the parser
    _parsed = 0  # those that were body

    def data_received(self, data: bytes) -> None:
        """Parse bytes that came; end the connection where too many of them are no body."""
        self._fed += len(data)
        super().data_received(data)
        if self._fed - self._parsed > _FRAME_BYTES + self._parsed // 8 and not self.transport.is_closing():
            _log.warning("a request's head, or what stands between its chunks, is longer than %d bytes", _FRAME_BYTES)
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_TOO_LONG)
                self.transport.close()
            else:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """Begin a request's scope."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[RECEIVE_INTO] = self._receive_into
        scope[DROP_REST] = partial(self._drop_rest, scope)
        self._receiver: Receiver | None = None
        self._fed = self._parsed = 0

    def on_body(self, body: bytes) -> None:
        """Count what comes the ordinary way."""
        self._parsed += len(body)
        super().on_body(body)

    def _receive_into(self, memory: memoryview) -> Receiver:
        self._receiver = Receiver(self, self.transport, memory, len(memory), self._complete)
        self._speak(self._receiver)
        return self._receiver

    def _drop_rest(self, scope: dict[str, Any]) -> Receiver | None:
        if self.cycle.scope is not scope or not self.cycle.more_body:  # a next request is being read
            return None
        if self._receiver is not None:
            self._receiver.drop()
            return self._receiver
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        left = int(length) - self._parsed if length.isdigit() else 0
        if left <= 0 or self.transport.is_closing():
            return None
        self._receiver = Receiver(self, self.transport, None, left, self._complete)
        self._speak(self._receiver)
        return self._receiver

    def _complete(self) -> None:
        self._receiver = None
        # The parser still waits for the body that it never saw: the next request gets another.
        self.parser = httptools.HttpRequestParser(self)
        self._speak(self)
        self.on_message_complete()

    def _speak(self, protocol: asyncio.BaseProtocol) -> None:
        self.transport.pause_reading()  # uvloop asks once, when reading starts, how its protocol wants to read
        self.transport.set_protocol(protocol)
        self.flow.read_paused = False
        self.transport.resume_reading()
