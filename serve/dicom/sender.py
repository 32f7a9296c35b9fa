"""The sender: brings one destination its results from the spool, by C-STORE or STOW-RS, until it has them.

Conventions
-----------
A destination that cannot be reached, rejects the association or stops answering is tried again for ever, with a
wait that doubles. A result that a destination refuses is sent again a limited number of times and is then put into the
folder ``dead``; at once, if the answer says that the refusal is final. A status of success or warning means that the
result was accepted, and so does "duplicate", because the destination has the object.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydicom.errors import InvalidDicomError

from xraytransfer.errors import ServeError
from xraytransfer.film_privacy import place_of
from xraytransfer.plural import counted
from xraytransfer.serve.dicom.connection import Answer, SearchFailedError
from xraytransfer.serve.log import film_log, log

if TYPE_CHECKING:
    from xraytransfer.serve.dicom.connection import Connection
    from xraytransfer.serve.dicom.events import DicomEvents
    from xraytransfer.serve.dicom_settings import Destination, DicomSettings
    from xraytransfer.serve.spool.database import Delivery
    from xraytransfer.serve.spool.spool import Spool

__all__ = ["Sender"]

_IDLE_S = 1.0  # longest sleep: nothing signals that a postponed delivery is due


class Sender:
    """A thread that sends one destination its results.

    Parameters
    ----------
    destination : Destination
    settings : DicomSettings
    spool : Spool
    events : DicomEvents
        Counts failed connections.
    """

    def __init__(self, destination: Destination, settings: DicomSettings, spool: Spool, events: DicomEvents) -> None:
        self._events = events
        self._destination, self._settings, self._spool = destination, settings, spool
        self._stopping = threading.Event()
        self._failures = 0  # failed connections in a row
        self._believed = False  # whether the log says that results cannot be confirmed
        self._thread = threading.Thread(target=self._run, name=f"send {destination.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the result that is being sent; the others stay in the spool."""
        self._stopping.set()
        with self._spool.changed:
            self._spool.changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        self._probe()
        while not self._stopping.is_set():
            try:
                deliveries = self._spool.due(self._destination.name)
                if not deliveries:
                    with self._spool.changed:
                        if not self._stopping.is_set():
                            self._spool.changed.wait(_IDLE_S)
                    continue
                self._send(deliveries)
                self._answered()
            # A full disk or a certificate that became unreadable must not end the thread either.
            except (ServeError, OSError, sqlite3.Error) as error:
                self._failed(str(error))
            # Nobody else sends to this destination, so no error of a library or of this program ends the thread.
            except Exception as error:  # noqa: BLE001
                self._failed(place_of(error))

    def _failed(self, why: str) -> None:
        """Say why a connection failed, and wait."""
        self._failures += 1
        self._events.failures.labels(self._destination.name).inc()
        wait_s = self._spread(self._settings.back_off(self._failures))
        log.warning("%s: %s; next attempt in %.0f s, results wait", self._destination.name, why, wait_s)
        self._stopping.wait(wait_s)

    def _probe(self) -> None:
        """Say in one line what stands at the destination's address."""
        try:
            if self._destination.url:
                from xraytransfer.serve.dicom.stow import probe_web

                found = probe_web(self._destination, self._settings)
            else:
                from xraytransfer.serve.dicom.scu import probe_node

                found = probe_node(self._destination, self._settings)
        except (ServeError, OSError) as error:
            log.warning("%s: %s; results wait until that changes", self._destination.name, error)
        except Exception as error:  # noqa: BLE001 - as in `_run`
            log.warning("%s: %s; results wait until that changes", self._destination.name, place_of(error))
        else:
            log.info("%s: %s", self._destination.name, found)

    def _send(self, deliveries: Sequence[Delivery]) -> None:
        with self._connect(deliveries) as connection:
            for delivery in deliveries:
                if self._stopping.is_set():
                    return
                if delivery.state == "accepted":
                    self._confirm(connection, delivery)
                else:
                    self._store(connection, delivery)

    @contextmanager
    def _connect(self, deliveries: Sequence[Delivery]) -> Iterator[Connection]:
        if self._destination.url:
            from xraytransfer.serve.dicom.stow import web_connection

            with web_connection(self._destination, self._settings) as web:
                yield web
        else:
            from xraytransfer.serve.dicom.scu import node_connection

            with node_connection(self._destination, self._settings, deliveries) as node:
                yield node

    def _store(self, connection: Connection, delivery: Delivery) -> None:
        try:
            answer, status = connection.store(delivery)
        except (FileNotFoundError, InvalidDicomError):
            answer, status = Answer.NEVER, "the result's file is damaged"
        except ValueError as error:
            answer, status = Answer.LATER, f"it cannot be sent ({type(error).__name__})"
        self._answered()
        if answer is Answer.TAKEN:
            film_log.info("%s: took a result", delivery.destination)
        if answer is Answer.TAKEN and self._settings.confirm_after_s is not None:
            self._spool.accepted(delivery, self._settings.confirm_after_s)
        elif answer is Answer.TAKEN:
            self._spool.sent(delivery)
        else:
            self._refused(delivery, status, never=answer is Answer.NEVER)

    def _answered(self) -> None:
        """Begin to count failed connections anew; say so where some were logged."""
        if self._failures:
            log.info("%s: answers again", self._destination.name)
        self._failures = 0

    def _confirm(self, connection: Connection, delivery: Delivery) -> None:
        try:
            held, why = connection.holds(delivery), ""
        except SearchFailedError as error:
            if delivery.attempts + 1 < self._settings.max_attempts:
                self._spool.ask_again(delivery, self._spread(self._settings.back_off(delivery.attempts + 1)))
                return
            held, why = None, f" ({error}, {counted(self._settings.max_attempts, 'time')})"
        if held is None and not self._believed:
            log.warning(
                "%s: cannot be asked for the results that it took%s: they count as sent", delivery.destination, why
            )
            self._believed = True
        if held is None or held:
            self._spool.sent(delivery)
        else:
            self._refused(delivery, "accepted, but not there afterwards", never=False)

    def _refused(self, delivery: Delivery, status: str, *, never: bool) -> None:
        attempts = delivery.attempts + 1
        if never or attempts >= self._settings.max_attempts:
            number = counted(attempts, "attempt")
            log.error("%s: a result was given up after %s: %s", delivery.destination, number, status)
            self._spool.bury_delivery(delivery, status)
            return
        wait_s = self._spread(self._settings.back_off(attempts))
        log.warning("%s: a result was refused: %s; again in %.0f s", delivery.destination, status, wait_s)
        self._spool.postpone(delivery, wait_s)

    @staticmethod
    def _spread(wait_s: float) -> float:
        """Vary a wait, so that many servers do not retry a destination in the same second."""
        return wait_s * random.uniform(0.8, 1.2)
