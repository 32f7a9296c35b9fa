"""The protocol: uvicorn's, with a short way for large bodies.

uvicorn hands a body to the application in messages of at most a quarter of a megabyte, each copied three times and
each waking a task. For films of ten megabytes that costs half as much as scoring them. Here an application may give
the memory that the rest of a body is to be received into, and gets one message when it is complete. Where
`RECEIVE_INTO` is not in a request's scope (another server, HTTP/1.1 chunks), messages come as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["RECEIVE_INTO", "DirectProtocol", "Receiver"]

RECEIVE_INTO = "xraytransfer.receive_into"
"""Key of a request's scope: a function from a memoryview to its `Receiver`.

To be called right after a message with ``more_body``; the memory must hold exactly the rest of the body.
"""


class DirectProtocol(HttpToolsProtocol):
    """HTTP/1.1 by httptools, with `RECEIVE_INTO`."""

    def on_message_begin(self) -> None:
        """Begin a request's scope."""
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[RECEIVE_INTO] = self._receive_into

    def _receive_into(self, memory: memoryview) -> Receiver:
        receiver = Receiver(self, memory, self._complete)
        self._speak(receiver)
        return receiver

    def _complete(self) -> None:
        # The parser still waits for the body that it never saw: the next request gets another.
        self.parser = httptools.HttpRequestParser(self)
        self._speak(self)
        self.on_message_complete()

    def _speak(self, protocol: asyncio.BaseProtocol) -> None:
        self.transport.pause_reading()  # uvloop asks once, when reading starts, how its protocol wants to read
        self.transport.set_protocol(protocol)
        self.flow.read_paused = False
        self.transport.resume_reading()


class Receiver(asyncio.BufferedProtocol):
    """Receives the rest of a body where it is to stay.

    Parameters
    ----------
    protocol : DirectProtocol
        What the connection speaks before and after.
    memory : memoryview
        Writable, one byte an item.
    complete : callable
        Called when the memory is full.

    Attributes
    ----------
    size : int
        Bytes received.
    """

    def __init__(self, protocol: DirectProtocol, memory: memoryview, complete: Callable[[], None]) -> None:
        self.size = 0
        self._protocol = protocol
        self._memory = memory
        self._complete = complete

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go: never beyond the body, so that a next request is not touched."""
        return self._memory[self.size :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of bytes that came."""
        self.size += nbytes
        if self.size == len(self._memory):
            self._memory.release()
            self._complete()

    def eof_received(self) -> None:
        """Let the transport close: the body will not be complete."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell uvicorn, which tells the application."""
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell uvicorn."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell uvicorn."""
        self._protocol.resume_writing()
