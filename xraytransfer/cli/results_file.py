"""The file of results: each result is written when it is there, and an interrupted file can be continued."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from xraytransfer.cli.result_forms import (
    BEGINNINGS,
    COLUMNS,
    COLUMNS_OF_0_1,
    HEADERS,
    Result,
    csv_row,
    one_line,
    table_row,
)
from xraytransfer.constants import RESUMABLE
from xraytransfer.errors import OutputError
from xraytransfer.folder_lock import try_lock
from xraytransfer.prediction import Refusal

__all__ = ["ResultsFile"]


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

    def __init__(self, path: Path | None, form: str, *, resume: bool = False, overwrite: bool = False) -> None:
        self.done: set[str] = set()
        self.refused_before = 0
        self.models_before: dict[str, str] = {}
        self.path = path
        self._form = form
        self._count = 0
        self._render: Callable[[Result], str] = {
            "table": table_row,
            "json": self._json_item,
            "jsonl": lambda result: json.dumps(result.to_dict()) + "\n",
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
        if self.path is not None:
            self._stream.close()

    def holds(self, source: str) -> bool:
        """Return whether the file held a source's result when it was opened."""
        return (one_line(source) if self._form == "csv" else source) in self.done

    def write(self, result: Result) -> None:
        """Add one result. Tables hold scored films only; the refused stand on standard error."""
        if self._form == "table":
            if isinstance(result, Refusal):
                return
            if self._count == 0:
                self._put(HEADERS["table"])
        self._put(self._render(result))
        self._count += 1

    def note(self, text: str) -> None:
        """Add a line of text below a table; the records of the other forms hold the same facts."""
        if self._form == "table":
            self._put(text + "\n")

    def _json_item(self, result: Result) -> str:
        document = {key: value for key, value in result.to_dict().items() if key != "notice"}
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
            stream: IO[bytes] = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b", buffering=0)  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {_cause(error)}") from error
        try:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OutputError(f"{path}: no regular file; without -o, results go to standard output")
            _lock(stream, path)
            if resume:
                self._continue(stream, path)
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

    def _remember(self, source: str, model: tuple[str, str] | None) -> None:
        """Note a source and the model that scored it, by checksum and name; None for one that was refused."""
        self.done.add(source)
        if model is None:
            self.refused_before += 1
        else:
            self.models_before.setdefault(*model)

    def _continue(self, stream: IO[bytes], path: Path) -> None:
        """Read line by line which sources are there, and cut off a half-written last line."""
        lines = _WholeLines(stream)
        try:
            if self._form == "jsonl":
                for line in lines:
                    record = json.loads(line)
                    model = record["model"] if record["ok"] else None
                    self._remember(record["source"], model and (model["sha256"], f"{model['name']} {model['version']}"))
            else:
                rows = csv.DictReader(lines)
                if rows.fieldnames is not None and tuple(rows.fieldnames) == COLUMNS_OF_0_1:
                    raise OutputError(
                        f"{path}: was written by version 0.1, which had fewer columns; write another file with -o"
                    )
                if rows.fieldnames is not None and tuple(rows.fieldnames) != COLUMNS:
                    raise ValueError("other columns")
                for row in rows:
                    scored = row["status"] == "ok"
                    self._remember(row["source"], (row["model_sha256"], row["model"]) if scored else None)
            begins = BEGINNINGS[self._form]
            if not lines.size and lines.rest[: len(begins)] != begins[: len(lines.rest)]:
                raise ValueError("one line that is none of ours")  # cutting it off would empty the file
        except (ValueError, KeyError, TypeError, csv.Error) as error:
            raise OutputError(f"{path}: not a {self._form} file of results, so it cannot be resumed") from error
        finally:
            lines.release()
        stream.truncate(lines.size)
        stream.seek(lines.size)


class _WholeLines:
    """The lines of a file that end, as text; `size` counts their bytes, `rest` is a last line cut short."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.size = 0
        self.rest = b""
        self._reader = io.BufferedReader(cast(io.FileIO, stream))

    def __iter__(self) -> Iterator[str]:
        for line in self._reader:
            if not line.endswith(b"\n"):
                self.rest = line
                return
            self.size += len(line)
            yield line.decode("utf-8", "surrogateescape")

    def release(self) -> None:
        """Leave the file open, which the buffer would close with itself."""
        self._reader.detach()


def _standard_output() -> IO[bytes]:
    if sys.stdout is None:
        raise OutputError("standard output is closed: open it, or use -o FILE")
    return sys.stdout.buffer


def _cause(error: OSError) -> str:
    return error.strerror or str(error)


def _lock(stream: IO[bytes], path: Path) -> None:
    """Keep every other process from writing to the same file until it is closed."""
    try:
        locked = try_lock(stream.fileno())
    except OSError as error:
        raise OutputError(f"{path}: cannot be locked ({_cause(error)}); write to a local disk") from error
    if not locked:
        raise OutputError(f"{path}: another process is writing to it")
