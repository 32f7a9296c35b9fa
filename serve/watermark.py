"""The watermark: how much of a body the kernel gathers before it wakes us.

Without one, each arrival of a few packets wakes the event loop, which then waits for the interpreter; over a new
connection, whose receive window is small, more than a hundred times for a film of ten megabytes. A high watermark makes
that twenty, and has Linux open the window at once. Elsewhere, and under TLS, nothing is set.

References
----------
socket(7), SO_RCVLOWAT; tcp(7), SIOCINQ.
"""

from __future__ import annotations

import asyncio
import socket
import sys

__all__ = ["Watermark"]

_BYTES = 512 * 1024


class Watermark:
    """The watermark of one connection.

    Parameters
    ----------
    transport : asyncio.Transport
        The connection's.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        plain = sys.platform == "linux" and transport.get_extra_info("sslcontext") is None
        self._socket: socket.socket | None = transport.get_extra_info("socket") if plain else None
        self._set = 1

    def expect(self, left: int) -> None:
        """Be woken when as much as makes sense has come, never more than `left`: that is all that will come."""
        wanted = max(1, min(_BYTES, left))
        if self._socket is None or wanted == self._set:
            return
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            self._set = wanted
        except OSError:  # the connection is gone, or this kernel sets none: woken more often, nothing else
            self._socket = None

    def waiting(self) -> int:
        """Return how many bytes have come and lie below the watermark."""
        if sys.platform != "linux" or self._socket is None:
            return 0
        import fcntl
        import termios

        try:
            found = fcntl.ioctl(self._socket.fileno(), termios.FIONREAD, bytes(4))
        except OSError:  # the connection is gone
            return 0
        return int.from_bytes(found, sys.byteorder)
