"""The server that accepts DICOM connections: so many and no more, and what fails is logged like everything else.

pynetdicom starts two threads for each connection, before anything has arrived on it, and Python prints the errors of
connections with their messages. Connections without limit would take all threads and files of the process.
"""

from __future__ import annotations

import socket
import socketserver
import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from pynetdicom.transport import ThreadedAssociationServer

from xraytransfer.film_privacy import place_of
from xraytransfer.serve.log import log

if TYPE_CHECKING:
    from xraytransfer.serve.dicom.events import DicomEvents
    from xraytransfer.serve.dicom_settings import DicomSettings

__all__ = ["WAITING", "AssociationServer"]

WAITING = 64
"""Connections that may be open beyond the associations: those on which none has been asked for yet."""


class AssociationServer(ThreadedAssociationServer):
    """Accepts connections up to a limit.

    Parameters
    ----------
    *arguments, **options
        Those of pynetdicom's server.
    settings : DicomSettings
    events : DicomEvents
        Counts the connections that are refused or fail.
    """

    def __init__(self, *arguments: Any, settings: DicomSettings, events: DicomEvents, **options: Any) -> None:
        self._most, self._events = settings.max_associations + WAITING, events
        self._accepted: WeakSet[socket.socket] = WeakSet()  # some are closed only when they are collected
        super().__init__(*arguments, **options)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether there is room for a new connection; it is closed where there is none."""
        if sum(connection.fileno() != -1 for connection in self._accepted) < self._most:
            self._accepted.add(request)
            return True
        self._events.associations.labels("rejected").inc()
        log.warning("DICOM: connection of %s refused: %d are open, no more are allowed", client_address[0], self._most)
        return False

    def shutdown(self) -> None:
        """Listen no more; pynetdicom's own looks for the server in a list where only `AE.start_server` puts it."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: Any) -> None:
        """Log that a connection failed, without the error's message."""
        error = sys.exc_info()[1]
        self._events.associations.labels("aborted").inc()
        log.error("DICOM: connection of %s failed: %s", client_address[0], place_of(error) if error else "?")
