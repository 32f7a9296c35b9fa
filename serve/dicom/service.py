"""The DICOM side of the server: the SCP, the spool, the worker and one sender for each destination."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from xraytransfer.plural import counted
from xraytransfer.serve.dicom.drain import Drain
from xraytransfer.serve.dicom.events import DicomEvents
from xraytransfer.serve.dicom.scp import start_scp
from xraytransfer.serve.dicom.sender import Sender
from xraytransfer.serve.dicom.tls import node_context
from xraytransfer.serve.dicom.worker import Worker
from xraytransfer.serve.log import log
from xraytransfer.serve.spool.spool import Spool
from xraytransfer.serve.spool.waiting import Waiting, WaitingResults

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_settings import DicomSettings
    from xraytransfer.serve.engine import Engine
    from xraytransfer.serve.metrics import Metrics

__all__ = ["DicomService", "DicomState", "start_dicom"]


@dataclass(frozen=True)
class DicomState:
    """The DICOM side at one moment.

    Attributes
    ----------
    waiting : Waiting
        Films and results in the spool, and since when.
    free_bytes : int
        On the spool's disk.
    problem : str or None
        Why a film sent now would be refused.
    """

    waiting: Waiting
    free_bytes: int
    problem: str | None


class DicomService:
    """The DICOM side of a server.

    Parameters
    ----------
    settings : DicomSettings
    engine : Engine
        Scores the films; it is not closed with the service.
    metrics : Metrics or None
        Shows the counts of the spool.

    Attributes
    ----------
    port : int
        The port it listens on, once started.
    """

    def __init__(self, settings: DicomSettings, engine: Engine, metrics: Metrics | None = None) -> None:
        self._settings, self._engine, self._metrics = settings, engine, metrics
        self._running = ExitStack()
        self._events = DicomEvents()
        self._spool: Spool | None = None
        self.port = settings.port

    def start(self) -> None:
        """Open the spool, listen, and continue with what waits from before.

        Raises
        ------
        ServeError
            The spool, the address or the certificates cannot be used.
        """
        settings = self._settings
        with ExitStack() as stack:
            spool = Spool(
                settings.spool,
                capacity=settings.capacity,
                min_free_bytes=settings.min_free_bytes,
                longest_wait_s=settings.longest_wait_s,
            )
            stack.callback(spool.close)
            # Ended in the reverse order: the SCP, then the films in the engine, then the senders.
            for destination in settings.destinations:
                if not destination.url:
                    node_context(destination, settings)  # raises now if the certificates cannot be used
                stack.callback(Sender(destination, settings, spool, self._events).stop)
            stack.callback(Worker(settings, spool, self._engine, self._events).stop)
            drain = Drain()
            server = start_scp(settings, spool, self._events, drain)
            stack.callback(drain.end, server)
            self._running = stack.pop_all()
        self._spool, self.port = spool, int(server.server_address[1])
        if self._metrics is not None:
            self._metrics.registry.register(self)
            self._running.callback(self._metrics.registry.unregister, self)
        waiting = spool.counts()
        log.info(
            "DICOM: %s listens on %s port %d; %s and %s wait from before",
            settings.ae_title,
            settings.host,
            self.port,
            counted(waiting["films_waiting"], "film"),
            counted(waiting["results_waiting"], "result"),
        )
        for name, results in self._stranded().items():
            log.warning(
                "DICOM: %s in %s for %s, which no --send-to names: give it again, or see `xraytransfer spool redirect`",
                f"{counted(results, 'result')} {'waits' if results == 1 else 'wait'}",
                settings.spool,
                name,
            )

    def _stranded(self) -> dict[str, int]:
        """Return how many results wait for each destination that is configured no more."""
        configured = {destination.name for destination in self._settings.destinations}
        waiting = self._spool.waiting().results if self._spool is not None else {}
        return {name: found.results for name, found in waiting.items() if name not in configured}

    def counts(self) -> dict[str, int]:
        """Return `Spool.counts`; empty before the start."""
        return self._spool.counts() if self._spool is not None else {}

    def state(self) -> DicomState:
        """Return what waits, how much room there is, and whether films are taken."""
        if self._spool is None:
            return DicomState(Waiting(0, 0.0, {}), 0, "the DICOM side does not run")
        problem = self._spool.problem()
        try:
            free_bytes = shutil.disk_usage(self._settings.spool).free
        except OSError:  # then the problem says so
            free_bytes = 0
        return DicomState(self._spool.waiting(), free_bytes, problem)

    def collect(self) -> Iterator[Metric]:
        """Yield the counts for Prometheus."""
        counts = self.counts()
        done = CounterMetricFamily("xraytransfer_dicom_films", "Films by what became of them.", labels=["state"])
        for name, value in counts.items():
            if name.endswith("_waiting"):
                yield GaugeMetricFamily(f"xraytransfer_dicom_{name}", "In the spool.", value)
            else:
                done.add_metric([name.removesuffix("_total")], value)
        yield done
        yield from self._events.collect()
        if self._spool is not None:
            yield from self._limits()
            yield from self._destinations(self._spool.waiting())

    def _limits(self) -> Iterator[Metric]:
        settings = self._settings
        for name, value in (
            ("films_limit", settings.capacity),
            ("associations_limit", settings.max_associations),
            ("object_bytes_limit", settings.max_object_bytes),
            ("free_bytes_minimum", settings.min_free_bytes),
        ):
            yield GaugeMetricFamily(f"xraytransfer_dicom_{name}", "A limit, as configured.", value)

    def _destinations(self, waiting: Waiting) -> Iterator[Metric]:
        """Yield what waits for each destination, and since when."""
        yield GaugeMetricFamily(
            "xraytransfer_dicom_oldest_film_seconds",
            "Seconds since the oldest film was received.",
            waiting.oldest_film_s,
        )
        results, oldest, refused = (
            GaugeMetricFamily(f"xraytransfer_dicom_destination_{name}", text, labels=["destination", "configured"])
            for name, text in (
                ("results_waiting", "Results in the spool; configured is no where no --send-to names the destination."),
                ("oldest_result_seconds", "Seconds since the oldest of them was made."),
                ("refusals_waiting", "How often the destination refused those that wait."),
            )
        )
        configured = {destination.name: WaitingResults(0, 0.0, 0) for destination in self._settings.destinations}
        for name, row in (configured | waiting.results).items():
            labels = [name, "yes" if name in configured else "no"]
            results.add_metric(labels, row.results)
            oldest.add_metric(labels, row.oldest_s)
            refused.add_metric(labels, row.failures)
        yield from (results, oldest, refused)

    def describe(self) -> list[Metric]:
        """Return nothing: the counts are known only while the service runs."""
        return []

    def close(self) -> None:
        """Accept no more films, wait for those being scored, and end; the others stay in the spool."""
        self._running.close()
        self._spool = None


def start_dicom(settings: DicomSettings, engine: Engine, metrics: Metrics | None = None) -> DicomService:
    """Return the DICOM side, started; end it with ``close``.

    Raises
    ------
    ServeError
        The spool, the address or the certificates cannot be used.
    """
    service = DicomService(settings, engine, metrics)
    service.start()
    return service
