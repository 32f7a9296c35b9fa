"""Limited receive: what a peer may send on a connection, in size and in time."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, NoReturn

from xraytransfer.serve.log import log

if TYPE_CHECKING:
    from xraytransfer.serve.dicom.events import DicomEvents
    from xraytransfer.serve.dicom_settings import DicomSettings

__all__ = ["MAX_PDU", "LimitedReceive"]

MAX_PDU = 2**20
"""Longest PDU that is read, in bytes; we announce 64 KiB, but an A-ASSOCIATE-RQ may be longer."""


class LimitedReceive:
    """Reads from a connection with limits: the size of an object, the length of a PDU, and the time for a PDU.

    pynetdicom itself holds a message in memory until it is whole, believes the PDU length that the sender announces,
    and restarts its timeout with every byte.
    """

    def __init__(self, transport: Any, settings: DicomSettings, events: DicomEvents, peer: str) -> None:
        self.socket: socket.socket = transport.socket
        self._events, self._peer, self.last = events, peer, time.monotonic()
        self._limit, self._wait_s, self.read = settings.max_object_bytes, settings.idle_timeout_s, 0

    def __call__(self, count: int) -> bytearray:
        """Return `count` bytes, fewer if the peer has left."""
        self.read += count
        if count > MAX_PDU or self.read > self._limit:
            what = f"a PDU of {count} bytes" if count > MAX_PDU else f"an object of over {self._limit} bytes"
            self._give_up(f"its sender announced {what}")
        received = bytearray()
        end = time.monotonic() + self._wait_s
        while len(received) < count:
            left_s = end - time.monotonic()
            if left_s <= 0:
                self._give_up(f"a PDU took over {self._wait_s:.0f} s")
            self.socket.settimeout(left_s)
            piece = self._receive(min(count - len(received), 65536))
            if not piece:
                break
            self.last = time.monotonic()
            received += piece
        self.socket.settimeout(self._wait_s)
        return received

    def _receive(self, count: int) -> bytes:
        try:
            return self.socket.recv(count)  # the first one does the TLS handshake
        except ssl.SSLError as error:
            self._events.associations.labels("tls_failed").inc()
            log.warning("DICOM: TLS with %s failed: %s", self._peer, error.reason or type(error).__name__)
            raise

    def _give_up(self, why: str) -> NoReturn:
        self._events.associations.labels("limit").inc()
        log.warning("DICOM: association ended: %s", why)
        self.socket.close()
        raise OSError(why)
