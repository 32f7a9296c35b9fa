"""The end of the storage SCP: objects on their way get a short time, and silent peers are not waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from xraytransfer.serve.dicom.limited_receive import LimitedReceive, limits_of
from xraytransfer.serve.log import log

if TYPE_CHECKING:
    from pynetdicom.transport import ThreadedAssociationServer

__all__ = ["Drain"]

_LONGEST_S = 10.0  # for objects on their way; senders send again what was not answered
_SILENCE_S = 1.0  # a peer that sends nothing for so long in the middle of an object has stalled
_POLL_S = 0.05


class Drain:
    """Ends the associations of a server that stops.

    Attributes
    ----------
    began : bool
        Whether the server stops.
    """

    def __init__(self) -> None:
        self.began = False

    def end(self, server: ThreadedAssociationServer) -> None:
        """Listen no more, and return when no connection is left.

        A connection with no object on its way is closed, which its peer understands as an abort (PS3.8 section 9.2.3,
        AA-4). One in the middle of an object has up to 10 s to send the rest of it and to get its answer, and 1 s from
        one piece to the next.
        """
        self.began = True
        server.shutdown()
        start = time.monotonic()
        while connections := _connections(server):
            passed_s = time.monotonic() - start
            if passed_s > 2 * _LONGEST_S:
                log.warning("DICOM: %d associations did not end", len(connections))
                return
            for connection in connections:
                if passed_s > _LONGEST_S or not connection.is_busy(_SILENCE_S):
                    connection.hang_up()
            time.sleep(_POLL_S)


def _connections(server: ThreadedAssociationServer) -> list[LimitedReceive]:
    """Return the connections that are open, or whose last object is being stored."""
    found = map(limits_of, server.ae.active_associations)
    return [limits for limits in found if limits is not None and (limits.is_open or limits.is_busy(_SILENCE_S))]
