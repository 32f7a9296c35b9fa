"""The server's log: what always shows, and the lines about single requests, films and results."""

from __future__ import annotations

import logging

__all__ = ["film_log", "log", "start_log"]

log = logging.getLogger("xraytransfer.serve")
"""Start, end, warnings and errors."""

film_log = log.getChild("films")
"""One line for each HTTP request, each DICOM film and each result that a destination took."""


def start_log(*, verbose: bool) -> None:
    """Write the log to standard error; the lines of `film_log` only if `verbose`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    film_log.setLevel(logging.INFO if verbose else logging.WARNING)
    logging.getLogger("highdicom").setLevel(logging.ERROR)  # it logs UIDs
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
