"""Limited receive: what a peer may send on a connection, in size and in time."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, NoReturn

from xraytransfer.serve.log import log

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from xraytransfer.serve.dicom.events import DicomEvents
    from xraytransfer.serve.dicom_settings import DicomSettings

__all__ = ["MAX_PDU", "LimitedReceive", "limits_of"]

MAX_PDU = 2**20
"""Longest PDU that is read, in bytes; we announce 64 KiB, but an A-ASSOCIATE-RQ may be longer."""


_TYPES = range(1, 8)  # of PDUs (PS3.8 section 9.3)
_P_DATA = 4  # the type of a PDU that carries messages (PS3.8 section 9.3.5)
_COMMAND, _LAST = 1, 2  # message control header: a fragment of a command, the last fragment (PS3.8 annex E.2)
_MAX_COMMAND = 2**16  # bytes of a command; that of a C-STORE has some 200


class LimitedReceive:
    """Reads from a connection with limits: the size of an object, the length of a PDU, and the time for a PDU.

    pynetdicom itself holds a message in memory until it is whole, believes the PDU length that the sender announces,
    and restarts its timeout with every byte. It decodes commands of any length, all of a message anew with each that
    comes, and queues requests without end; a message has one command (PS3.7 section 6.3.1), and a sender that
    negotiated nothing else waits for the answer before it asks again (PS3.7 annex D.3.3.3).
    """

    def __init__(self, transport: Any, settings: DicomSettings, events: DicomEvents, peer: str) -> None:
        self.socket: socket.socket = transport.socket
        self._events, self._peer, self.last = events, peer, time.monotonic()
        self._limit, self._wait_s = settings.max_object_bytes, settings.idle_timeout_s
        self._read = self._commands = self._command_bytes = 0  # since the last message that was whole
        self._body: int | None = None  # the type of the PDU whose body comes next; None where a new PDU comes next
        self._unanswered = False

    def __call__(self, count: int) -> bytearray:
        """Return `count` bytes, fewer if the peer has left."""
        self._read += count
        if count > MAX_PDU or self._read > self._limit:
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
        if self._body is None:
            self._body = received[0] if received and received[0] in _TYPES else None  # of others no body is asked for
            return received
        if self._body == _P_DATA:
            self._count_commands(received)
        self._body = None
        return received

    def message_ended(self, *, request: bool) -> None:
        """Begin a new message; `request` says whether the one that is whole wants an answer."""
        self._read = self._commands = self._command_bytes = 0
        if not request:
            return
        if self._unanswered:
            self._give_up("its sender did not wait for an answer")
        self._unanswered = True

    def answered(self) -> None:
        """Note that the answer to the request was written to the connection."""
        self._unanswered = False

    @property
    def is_open(self) -> bool:
        """Return whether the connection is not closed yet."""
        return self.socket.fileno() != -1

    def is_busy(self, silence_s: float) -> bool:
        """Return whether a message waits for its answer, or arrives without a silence of so long."""
        arriving = self._command_bytes > 0 and time.monotonic() - self.last <= silence_s
        return arriving or self._unanswered

    def hang_up(self) -> None:
        """Close the connection in both directions; who reads from it sees its end.

        TLS stays around the socket: its own `shutdown` takes it off, and whoever reads on gets encrypted bytes as film.
        """
        with contextlib.suppress(OSError):  # the peer was faster
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def _count_commands(self, body: bytearray) -> None:
        """Count the commands of a P-DATA-TF PDU (PS3.8 section 9.3.5.1)."""
        at = 0
        while at + 5 < len(body):  # length (4 bytes), context, message control header, data
            size, header = int.from_bytes(body[at : at + 4], "big"), body[at + 5]
            if header & _COMMAND:
                self._command_bytes += size
                self._commands += bool(header & _LAST)
            at += 4 + size
        if self._commands > 1 or self._command_bytes > _MAX_COMMAND:
            what = "a second command within a message" if self._commands > 1 else "an absurdly long command"
            self._give_up(f"its sender sent {what}")

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


def limits_of(association: Association) -> LimitedReceive | None:
    """Return the limits on an association's connection; None where it is closed or was opened before them."""
    transport: Any = association.dul.socket
    return transport.recv if transport is not None and isinstance(transport.recv, LimitedReceive) else None
