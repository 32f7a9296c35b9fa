"""The watermark: how much of a body the kernel gathers before it wakes us.

Without one, each arrival of a few packets wakes the event loop, which then waits for the interpreter; over a new
connection, whose receive window is small, more than a hundred times for a film of ten megabytes. A high watermark makes
that twenty, and has Linux open the window at once: that alone is worth three of a hundred films scored. Elsewhere, and
under TLS, nothing is set.

References
----------
socket(7), SO_RCVLOWAT; tcp(7), SIOCINQ.
"""

from __future__ import annotations

import asyncio
import socket
import sys

__all__ = ["GATHERED", "Watermark"]

GATHERED = 512 * 1024
"""Bytes that make sense to wait for where they are to be copied: they should still lie in a processor's cache."""
_WINDOW = 4 << 20


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

    def expect(self, size: int) -> None:
        """Be woken when `size` bytes have come (or as many as the kernel gathers at most: tcp(7), tcp_rmem).

        Never more than will come.
        """
        wanted = max(1, size)
        if self._socket is None or wanted == self._set:
            return
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            self._set = wanted
        except OSError:  # the connection is gone, or this kernel sets none: woken more often, nothing else
            self._socket = None

    def open_window(self, size: int) -> None:
        """Let `size` bytes be under way, within limits; `expect` what makes sense right after.

        The kernel makes room for what a watermark asks, and keeps it. A new connection begins with far less, and
        each time the little that it has is read, the sender has to be told.
        """
        self.expect(min(_WINDOW, size))

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
