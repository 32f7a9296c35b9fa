"""Metrics: the server's counters for Prometheus. No label holds anything that a client sent."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters, gauges and histograms in a registry of their own.

    Attributes
    ----------
    registry : CollectorRegistry
        Other parts may add to it. Each server in a process has its own.
    requests, latency
        HTTP requests by route, method and status; seconds from a request's head to the end of its answer.
    films, refusals
        Films answered by outcome; refusals by reason (a key of `xraytransfer.errors.REASONS`, or of the
        server's own problems).
    read_seconds, score_seconds, batch_films
        Seconds to decode a film; seconds of one run of the model; films in one run.
    held_bytes
        Bytes of request bodies in memory.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "xraytransfer_http_requests",
            "HTTP requests answered",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "xraytransfer_http_request_seconds",
            "Seconds from a request's head to the end of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.films = Counter("xraytransfer_films", "Films answered over HTTP", ["outcome"], registry=self.registry)
        self.refusals = Counter("xraytransfer_refusals", "Refusals", ["reason"], registry=self.registry)
        self.read_seconds = Histogram(
            "xraytransfer_read_seconds", "Seconds to decode a film", buckets=_SECONDS, registry=self.registry
        )
        self.score_seconds = Histogram(
            "xraytransfer_score_seconds",
            "Seconds of one run of the model",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_films = Histogram(
            "xraytransfer_batch_films",
            "Films in one run of the model",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.held_bytes = Gauge("xraytransfer_held_bytes", "Bytes of request bodies in memory", registry=self.registry)
        self._depth = Gauge("xraytransfer_queue_films", "Films accepted and not yet answered", registry=self.registry)
        self._places = Gauge("xraytransfer_queue_places", "Films that can be accepted at once", registry=self.registry)
        self._model = Info("xraytransfer_model", "The model and what it runs on", registry=self.registry)

    def watch_queue(self, depth: Callable[[], float], places: int) -> None:
        """Call `depth` for the length of the queue at each scrape; `places` is its limit."""
        self._depth.set_function(depth)
        self._places.set(places)

    def name_model(self, *, name: str, version: str, sha256: str, provider: str) -> None:
        """Set the model and the execution provider that runs."""
        self._model.info({"name": name, "version": version, "sha256": sha256, "provider": provider})

    def render(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self.registry)
