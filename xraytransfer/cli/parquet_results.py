"""The file of results as Parquet: written aside, and moved onto its name when all results are there."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from xraytransfer.cli.results_file import ResultsFile, lock_results
from xraytransfer.errors import OutputError

if TYPE_CHECKING:
    from xraytransfer.cli.film_version import FilmVersion
    from xraytransfer.prediction import Prediction, Refusal

__all__ = ["ParquetResults", "open_results"]

_ROWS_IN_GROUP = 10_000


class ParquetResults:
    """Results in a Parquet file; a context manager with the interface of `ResultsFile`.

    A Parquet file is whole only at its end. An interrupted run leaves the results so far in the file; after a kill
    there is none. What must survive that is scored by shards of a manifest, or written as CSV or JSON lines.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Replace a file that exists; else it is refused.

    Raises
    ------
    OutputError
        The file exists, another process is writing it, or it cannot be written.
    """

    done: frozenset[str] = frozenset()
    refused_before = 0
    models_before: dict[str, str] = {}  # noqa: RUF012 - nothing is ever added: these files are not continued

    def __init__(self, path: Path | None, *, overwrite: bool = False) -> None:
        from xraytransfer.archives.manifest import arrow
        from xraytransfer.archives.parts import results_schema

        if path is None:
            raise OutputError("--format parquet needs -o FILE")
        self.path = path
        self._arrow, self._schema = arrow(), results_schema()
        self._temporary = path.with_name(f".{path.name}.tmp")  # one name: what a kill leaves is replaced
        self._rows: list[dict[str, Any]] = []
        self._discarded = False
        self._locked = contextlib.ExitStack()
        with contextlib.ExitStack() as opened:
            try:
                opened.enter_context(_only_writer(path))
                if path.exists() and not overwrite:
                    raise OutputError(f"{path}: exists already; --overwrite replaces it")
                self._writer = self._arrow.parquet.ParquetWriter(self._temporary, self._schema, compression="zstd")
            except OSError as error:
                raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error
            self._locked = opened.pop_all()

    def __enter__(self) -> ParquetResults:
        """Return the file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is there, and move the file onto its name."""
        try:
            self._flush()
            self._writer.close()
            if not self._discarded:
                self._temporary.replace(self.path)
        except OSError as cause:
            raise OutputError(f"{self.path}: cannot be written: {cause.strerror or cause}") from cause
        finally:
            self._temporary.unlink(missing_ok=True)
            self._locked.close()

    def holds(self, source: str) -> bool:
        """Return False: these files are not continued."""
        return False

    def write(self, result: Prediction | Refusal, version: FilmVersion | None = None) -> None:
        """Add one result, with the version of the film's file."""
        from xraytransfer.archives.parts import result_row

        file = {} if version is None else {"size": version.size, "version": str(version.modified_ns)}
        self._rows.append({**result_row(result), **file})
        if len(self._rows) == _ROWS_IN_GROUP:
            self._flush()

    def discard(self) -> None:
        """Leave no file behind: no film was found."""
        self._discarded = True

    def note(self, text: str) -> None:
        """Pass over a line of text for tables."""

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        try:
            self._writer.write_table(self._arrow.Table.from_pylist(rows, schema=self._schema))
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror or error}") from error


@contextlib.contextmanager
def _only_writer(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same file: the last one would replace the results of the others."""
    place = path.with_name(f".{path.name}.lock")
    with place.open("wb") as stream:
        lock_results(stream, path, place)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows keeps files that are open
                place.unlink()


def open_results(
    output: Path | None, form: str, resume: bool, overwrite: bool, again: Collection[str] = ()
) -> ResultsFile | ParquetResults:
    """Open the file of results for any form; the other parameters are those of `ResultsFile`."""
    if form == "parquet":
        return ParquetResults(output, overwrite=overwrite)
    return ResultsFile(output, form, resume=resume, overwrite=overwrite, again=again)
