"""Spool room: whether the DICOM side could keep another film, for ``/readyz``."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING

from xraytransfer.serve.settings import MIB

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_settings import DicomSettings

__all__ = ["spool_problem"]


def spool_problem(settings: DicomSettings, counts: Mapping[str, int]) -> str | None:
    """Return why films sent by DICOM are refused now, or None.

    Parameters
    ----------
    settings : DicomSettings
        The spool's folder, and its limits.
    counts : mapping
        `DicomService.counts`; empty if the DICOM side does not run.
    """
    if not counts:
        return "the DICOM side does not run"
    if counts["films_waiting"] >= settings.capacity:
        return f"the spool holds {counts['films_waiting']} films, as many as it may"
    try:
        free = shutil.disk_usage(settings.spool).free
        with tempfile.TemporaryFile(dir=settings.spool) as file:
            file.write(b"x")
    except OSError as error:
        return f"the spool cannot be written: {error.strerror}"
    if free < settings.min_free_bytes:
        return (
            f"the spool's disk has {free // MIB} MiB free, less than the {settings.min_free_bytes // MIB} MiB to keep"
        )
    return None
