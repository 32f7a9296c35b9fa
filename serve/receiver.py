"""The receiver: the rest of a body, into the memory where it is to stay, or nowhere.

A busy server refuses films that come all the same, and has to read what it refuses. Received and dropped, a film of
ten megabytes takes an eighth of the processor time that scoring one takes, and those who were let in wait for it. So
where the kernel can (Linux, no TLS), it drops the bytes where they lie instead of copying them to us.

References
----------
tcp(7), MSG_TRUNC.
"""

from __future__ import annotations

import asyncio
import mmap
import socket
import sys
from collections.abc import Callable
from typing import ClassVar
from weakref import WeakSet

from xraytransfer.serve.watermark import GATHERED, Watermark

__all__ = ["Receiver"]

_DROPPED = memoryview(bytearray(256 * 1024))  # never read; small enough to stay in a processor's cache
_AT_ONCE = 8 << 20  # bytes that the kernel drops at once
_NOWHERE = memoryview(mmap.mmap(-1, _AT_ONCE))  # what it is told to drop them into: never written, so no memory
_HELD = 256 << 20  # bytes that it may gather of all bodies that are being dropped


class Receiver(asyncio.BufferedProtocol):
    """Receives the rest of a body.

    Parameters
    ----------
    protocol : asyncio.Protocol
        What the connection speaks before and after.
    transport : asyncio.Transport
        The connection's.
    memory : memoryview or None
        Writable, one byte an item, as long as the rest. None: the rest is dropped.
    length : int
        Bytes of the rest.
    complete : callable
        Called when all have come.

    Attributes
    ----------
    size : int
        Bytes received.
    arrived : int
        The same, and those that the kernel still gathers.
    """

    _dropping: ClassVar[WeakSet[Receiver]] = WeakSet()

    def __init__(
        self,
        protocol: asyncio.Protocol,
        transport: asyncio.Transport,
        memory: memoryview | None,
        length: int,
        complete: Callable[[], None],
    ) -> None:
        self.size = 0
        self._protocol = protocol
        self._memory = memory
        self._length = length
        self._complete = complete
        self._watermark = Watermark(transport)
        plain = sys.platform == "linux" and transport.get_extra_info("sslcontext") is None
        self._socket = transport.get_extra_info("socket") if plain else None
        if memory is None:
            self.drop()
        else:
            self._watermark.open_window(length)
        self._expect()

    @property
    def arrived(self) -> int:
        """Bytes that have come, here or in the kernel."""
        left = self._length - self.size
        return self.size + min(left, self._watermark.waiting()) if left else self.size

    def drop(self) -> None:
        """Keep nothing of what comes from now on."""
        self._memory = None
        before = self._share()
        self._dropping.add(self)
        if self._share() < before:
            for each in list(self._dropping):
                each._expect()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go: never beyond the body, so that a next request is not touched."""
        if self._memory is None:
            self._drop_where_they_lie()
            return _DROPPED[: self._length - self.size]
        return self._memory[self.size :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of bytes that came."""
        self.size += nbytes
        self._expect()
        if self.size == self._length:
            self._memory = None
            self._dropping.discard(self)
            self._complete()

    def eof_received(self) -> None:
        """Let the transport close: the body will not be complete."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell uvicorn, which tells the application."""
        self._dropping.discard(self)
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell uvicorn."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell uvicorn."""
        self._protocol.resume_writing()

    @classmethod
    def _share(cls) -> int:
        """Return how much the kernel may gather of each body that is dropped; halves when their number doubles."""
        return min(_AT_ONCE, _HELD >> max(0, len(cls._dropping) - 1).bit_length())

    def _expect(self) -> None:
        most = self._share() if self._memory is None else GATHERED
        self._watermark.expect(min(self._length - self.size, most))

    def _drop_where_they_lie(self) -> None:
        """Have the kernel drop what has come, but for the last byte: that comes as ever, as does whatever goes wrong.

        The transport, which is about to read, may find nothing then, and waits on.
        """
        most = min(_AT_ONCE, self._length - self.size - 1)
        if self._socket is None or most <= 0:
            return
        try:
            with self._socket.dup() as twin:  # what a transport calls its socket does not receive
                self.size += twin.recv_into(_NOWHERE, most, socket.MSG_TRUNC)
        except OSError:  # nothing has come, the connection is lost, no descriptor is left: the transport finds out
            return
        self._expect()
