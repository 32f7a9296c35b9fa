"""The DICOM side as a whole: the SCP, the spool, the worker and one sender for each destination."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from xraytransfer.serve.scp import start_scp
from xraytransfer.serve.sender import Sender
from xraytransfer.serve.spool import Spool
from xraytransfer.serve.worker import Worker

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_settings import DicomSettings
    from xraytransfer.serve.engine import Engine

__all__ = ["DicomNode", "start_dicom"]

_LOG = logging.getLogger(__name__)


class DicomNode:
    """A running DICOM side.

    Parameters
    ----------
    settings : DicomSettings
    engine : Engine
        What scores films; it is not closed with the node.

    Attributes
    ----------
    port : int
        Where it listens.
    """

    def __init__(self, settings: DicomSettings, engine: Engine) -> None:
        self._spool = Spool(settings.spool, capacity=settings.capacity, min_free_bytes=settings.min_free_bytes)
        try:
            self._server = start_scp(settings, self._spool)
        except BaseException:
            self._spool.close()
            raise
        self.port = int(self._server.server_address[1])
        self._worker = Worker(settings, self._spool, engine)
        self._senders = [Sender(destination, settings, self._spool) for destination in settings.destinations]
        waiting = self._spool.counts()
        _LOG.info(
            "DICOM: %s listens on %s port %d; %d films and %d results wait from before",
            settings.ae_title,
            settings.host,
            self.port,
            waiting["films_waiting"],
            waiting["results_waiting"],
        )

    def counts(self) -> dict[str, int]:
        """Return what waits and what was done; see `Spool.counts`."""
        return self._spool.counts()

    def stop(self) -> None:
        """Take no more films, wait for those being scored, end. What is left stays in the spool."""
        self._server.shutdown()
        self._worker.stop()
        for sender in self._senders:
            sender.stop()
        self._spool.close()


def start_dicom(settings: DicomSettings, engine: Engine) -> DicomNode:
    """Start the DICOM side.

    Raises
    ------
    ServeError
        The spool, the address or the certificates cannot be used.
    """
    return DicomNode(settings, engine)
