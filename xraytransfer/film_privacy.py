"""Film privacy: what libraries say about a film reaches neither the terminal nor a log.

pydicom, highdicom and pynetdicom quote values of a film's header in their warnings, log records and exceptions. The
commands that open films turn these off. Inside other programs (``import xraytransfer``) nothing is turned off, because
warnings and logs belong to the program; reading and scoring a film give none there.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
import warnings
from types import TracebackType
from typing import Any

__all__ = ["SILENT", "keep_films_private", "place_of", "printable_line", "unicode_text"]

SILENT = ("pydicom", "highdicom", "pynetdicom", "pylibjpeg", "PIL", "dicomweb_client", "urllib3")
"""Libraries whose log records are about films, or about addresses that hold their UIDs."""


def keep_films_private() -> None:
    """Turn off, for the whole process, what could quote a film: library logs, warnings and messages of tracebacks.

    A filter that makes warnings errors stays in force. An exception that nobody caught is still shown: by its type and
    the lines of code that it passed.
    """
    for library in SILENT:
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    warnings.showwarning = _show_nothing
    sys.excepthook = _show_exception
    threading.excepthook = _show_thread_exception
    sys.unraisablehook = _show_unraisable


def place_of(error: BaseException) -> str:
    """Return an exception's type and the line of code that raised it, without its message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
    return f"{type(error).__name__} at {place}"


def printable_line(text: str) -> str:
    """Return a text as one line that cannot pass for two: line breaks and control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unicode_text(name: str) -> str:
    r"""Return a name as Unicode text, which JSON, CSV and Parquet need: bytes of another encoding as ``\xe9``.

    Halves of UTF-16 characters, which names on Windows may hold, become escapes such as ``\ud800``.
    """
    name = re.sub("[\ud800-\udc7f\udd00-\udfff]", lambda half: rf"\u{ord(half[0]):x}", name)
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _show_nothing(*_: Any, **__: Any) -> None:
    """Take the place of `warnings.showwarning`."""


def _show_exception(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    if trace is not None:
        lines = "".join(traceback.format_tb(trace))
        print(f"Traceback (most recent call last):\n{lines}", end="", file=sys.stderr)  # noqa: T201
    print(f"{kind.__name__} (its message is left out, because it may quote a film)", file=sys.stderr)  # noqa: T201


def _show_thread_exception(arguments: threading.ExceptHookArgs) -> None:
    if not issubclass(arguments.exc_type, SystemExit):
        _show_exception(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


def _show_unraisable(unraisable: Any) -> None:
    _show_exception(unraisable.exc_type, unraisable.exc_value, unraisable.exc_traceback)
