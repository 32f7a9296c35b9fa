"""The server's log: what always shows, and the lines about single requests, films and results.

One record is one line. It holds what this package put there on purpose; of other libraries it holds only that something
failed and where.
"""

from __future__ import annotations

import logging
import sys
import threading

from xraytransfer.film_privacy import SILENT, keep_films_private, place_of, printable_line

__all__ = ["LogLine", "film_log", "log", "start_log"]

log = logging.getLogger("xraytransfer.serve")
"""Start, end, warnings and errors."""

film_log = log.getChild("films")
"""One line for each HTTP request, each DICOM film and each result that a destination took."""

_OURS = "xraytransfer"
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


class LogLine(logging.Formatter):
    """Makes one line of a record: no line breaks, no messages of exceptions, no messages of other libraries."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        error = record.exc_info[1] if record.exc_info else None
        shown = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None, "stack_info": None})
        if not _is_ours(record):
            shown.msg, shown.args = f"{record.name}: an error at {record.pathname}:{record.lineno}", None
        if error is not None:
            shown.msg, shown.args = f"{shown.getMessage()}: {place_of(error)}", None
        return printable_line(super().format(shown))


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == _OURS


def _is_shown(record: logging.LogRecord) -> bool:
    """Keep our own records, and the errors of libraries that are not about films."""
    library = record.name.partition(".")[0]
    return _is_ours(record) or (library not in SILENT and record.levelno >= logging.ERROR)


def _log_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        log.error("a thread ended: %s", place_of(arguments.exc_value))


def start_log(*, verbose: bool) -> None:
    """Write the log to standard error; the lines of `film_log` only if `verbose`."""
    keep_films_private()
    threading.excepthook = _log_thread_exception
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine())
    handler.addFilter(_is_shown)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    film_log.setLevel(logging.INFO if verbose else logging.WARNING)
