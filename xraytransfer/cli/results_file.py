"""The file of results as text: each result is written when it is there, and an interrupted file goes on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from xraytransfer.cli.film_version import FilmVersion
from xraytransfer.cli.result_forms import (
    HEADERS,
    Result,
    csv_row,
    json_line,
    json_record,
    one_line,
    table_row,
)
from xraytransfer.cli.resumed_results import ResumedResults, lines_to_keep, read_results
from xraytransfer.constants import RESUMABLE
from xraytransfer.errors import OutputError
from xraytransfer.files import write_with
from xraytransfer.film_privacy import unicode_text
from xraytransfer.folder_lock import try_lock
from xraytransfer.prediction import Refusal

__all__ = ["ResultsFile", "lock_results"]

_OPEN_FILES_STAY = os.name == "nt"
"""Whether open files can be neither removed nor replaced."""


class ResultsFile:
    """Results on disk or on standard output; a context manager.

    Each result reaches the file before the next is computed. A full disk or a kill loses at most the
    line being written, and that line is cut off, so that what stays can be read and resumed.

    Parameters
    ----------
    path : Path or None
        None writes to standard output.
    form : {'table', 'json', 'jsonl', 'csv'}
    resume : bool
        Continue a ``jsonl`` or ``csv`` file; `done` then holds the sources in it.
    overwrite : bool
        Replace a file that exists. Without `resume` or this, an existing file is refused.
    again : collection of str
        Reasons of refusals that an option overrules now: `resume` scores these films again.

    Attributes
    ----------
    done : set of str
        Sources that the file held when it was opened.
    refused_before : int
        How many of them stand there as refused.
    models_before : dict
        Checksum -> name and version of the models that scored the others.

    Raises
    ------
    OutputError
        The file exists, is in use by another process, is no results file, or cannot be written.
    """

    def __init__(
        self,
        path: Path | None,
        form: str,
        *,
        resume: bool = False,
        overwrite: bool = False,
        again: Collection[str] = (),
    ) -> None:
        self.done: set[str] = set()
        self.refused_before = 0
        self.models_before: dict[str, str] = {}
        self.path = path
        self._form = form
        self._again = again
        self._discarded = False
        self._count = 0
        self._render: Callable[[Result, FilmVersion | None], str] = {
            "table": table_row,
            "json": self._json_item,
            "jsonl": json_line,
            "csv": csv_row,
        }[form]
        if resume and (path is None or form not in RESUMABLE):
            raise OutputError(f"--resume needs -o FILE and --format {' or '.join(RESUMABLE)}")
        self._stream: IO[bytes] = _standard_output() if path is None else self._open(path, resume, overwrite)
        if form != "table" and (path is None or self._stream.tell() == 0):
            try:
                self._put(HEADERS[form])
            except BaseException:
                self._close()
                raise

    def __enter__(self) -> ResultsFile:
        """Return the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the document and close the file, also after an interruption."""
        # after a full disk there may still be room for the few bytes that make the document whole
        lenient = contextlib.suppress(OutputError) if error is not None else contextlib.nullcontext()
        try:
            if self._form == "json":
                with lenient:
                    self._put("\n]}\n")
        finally:
            self._close()

    def _close(self) -> None:
        if self.path is None:
            return
        if self._discarded and not _OPEN_FILES_STAY:  # while it is locked: afterwards it may be another process's
            self.path.unlink(missing_ok=True)
        self._stream.close()
        if self._discarded and _OPEN_FILES_STAY:
            self.path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Leave no file behind: no film was found, and a header alone would look like results."""
        self._discarded = True

    def holds(self, source: str) -> bool:
        """Return whether the file held a source's result when it was opened."""
        return (one_line(source) if self._form == "csv" else unicode_text(source)) in self.done

    def write(self, result: Result, version: FilmVersion | None = None) -> None:
        """Add one result, with the version of the film's file. Tables hold scored films only."""
        if self._form == "table":
            if isinstance(result, Refusal):
                return
            if self._count == 0:
                self._put(HEADERS["table"])
        self._put(self._render(result, version))
        self._count += 1

    def note(self, text: str) -> None:
        """Add a line of text below a table; the records of the other forms hold the same facts."""
        if self._form == "table":
            self._put(text + "\n")

    def _json_item(self, result: Result, version: FilmVersion | None) -> str:
        document = {key: value for key, value in json_record(result, version).items() if key != "notice"}
        return (",\n" if self._count else "") + json.dumps(document)

    def _put(self, text: str) -> None:
        """Write the whole text, or nothing where an error or an interruption prevents that."""
        data = memoryview(text.encode("utf-8", "surrogateescape"))
        start = self._stream.tell() if self.path is not None else 0
        try:
            while data:  # an unbuffered write may be partial
                data = data[self._stream.write(data) :]
            self._stream.flush()
        except BaseException as error:
            if self.path is not None:
                with contextlib.suppress(OSError):
                    self._stream.truncate(start)
                    self._stream.seek(start)
            if not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
                raise
            raise OutputError(
                f"{self.path or 'standard output'}: {_cause(error)} after {self._count} results, which are kept"
                + ("; make room and continue with --resume" if self.path and self._form in RESUMABLE else "")
            ) from error

    def _open(self, path: Path, resume: bool, overwrite: bool) -> IO[bytes]:
        try:
            stream = _open(path)
        except FileNotFoundError as error:
            raise OutputError(f"{path}: cannot be written: there is no folder {path.parent}; make it first") from error
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {_cause(error)}") from error
        try:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OutputError(f"{path}: no regular file; without -o, results go to standard output")
            lock_results(stream, path)
            if resume:
                stream = self._continue(stream, path)
            elif os.fstat(stream.fileno()).st_size and not overwrite:
                raise OutputError(f"{path}: exists already; --resume continues it, --overwrite replaces it")
            else:
                stream.truncate(0)
        except OSError as error:
            stream.close()
            raise OutputError(f"{path}: cannot be written: {_cause(error)}") from error
        except BaseException:
            stream.close()
            raise
        return stream

    def _continue(self, stream: IO[bytes], path: Path) -> IO[bytes]:
        """Note what is there, drop the lines of films to be scored again and a half-written last one."""
        found = read_results(stream, path, self._form, self._again)
        self.done, self.refused_before, self.models_before = found.done, found.refused, found.models
        if found.stale:
            write_with(path, lambda temporary: _write_lines(temporary, stream, found))
            stream.close()
            stream = _open(path)
            lock_results(stream, path)
            found.size = os.fstat(stream.fileno()).st_size
        stream.truncate(found.size)
        stream.seek(found.size)
        return stream


def _open(path: Path) -> IO[bytes]:
    return open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)


def _write_lines(path: Path, stream: IO[bytes], found: ResumedResults) -> None:
    """Write the lines to keep of a locked file, which Windows lets nothing but `stream` read."""
    stream.seek(0)
    whole = io.BufferedReader(cast(io.FileIO, stream))
    try:
        with path.open("wb") as file:
            file.writelines(lines_to_keep(whole, found))
    finally:
        whole.detach()
    if _OPEN_FILES_STAY:
        stream.close()


def _standard_output() -> IO[bytes]:
    if sys.stdout is None:
        raise OutputError("standard output is closed: open it, or use -o FILE")
    return sys.stdout.buffer


def _cause(error: OSError) -> str:
    return error.strerror or str(error)


def lock_results(stream: IO[bytes], path: Path, place: Path | None = None) -> None:
    """Keep every other process from writing to the same file until it is closed.

    `place` is the file that is locked, if not `path`. One that was replaced or removed since it was opened is not
    locked: what is written into it would be lost.
    """
    try:
        locked = try_lock(stream.fileno())
    except OSError as error:
        raise OutputError(f"{path}: cannot be locked ({_cause(error)}); write to a local disk") from error
    if not locked or not _is_at(place or path, stream):
        raise OutputError(f"{path}: another process is writing to it")


def _is_at(place: Path, stream: IO[bytes]) -> bool:
    try:
        return os.path.samestat(place.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False
