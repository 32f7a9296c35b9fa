"""Counters of what goes wrong on the DICOM side, for ``/metrics``. No label holds anything that a peer sent."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter
from prometheus_client.core import Metric

__all__ = ["DicomEvents"]


class DicomEvents:
    """Counters since the start of the process.

    Attributes
    ----------
    associations
        Associations that ended badly, by outcome: ``rejected``, ``aborted`` (by the peer), ``idle`` (ended by us),
        ``limit`` (an object or a PDU too large or too slow, a second command, no wait for an answer), ``tls_failed``.
    refusals
        Objects refused, by reason: a key of `xraytransfer.errors.REASONS` for films that were received, else one of
        ``sop-class``, ``unreadable``, ``mismatch``, ``no-room``.
    dropped
        Objects of other SOP classes that were accepted and dropped.
    failures
        Connections to a destination that failed.
    """

    def __init__(self) -> None:
        self.associations = Counter(
            "xraytransfer_dicom_associations_failed", "Associations that ended badly.", ["outcome"], registry=None
        )
        self.refusals = Counter("xraytransfer_dicom_refusals", "Objects refused.", ["reason"], registry=None)
        self.dropped = Counter(
            "xraytransfer_dicom_dropped", "Objects of other SOP classes, accepted and dropped.", registry=None
        )
        self.failures = Counter(
            "xraytransfer_dicom_destination_failures", "Connections that failed.", ["destination"], registry=None
        )

    def collect(self) -> Iterator[Metric]:
        """Yield the counters for Prometheus."""
        for counter in (self.associations, self.refusals, self.dropped, self.failures):
            yield from counter.collect()
