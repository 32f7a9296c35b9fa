"""The manifest: a Parquet file that lists an archive's films, one row each, in the order of its shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraytransfer.archives.stores import Entry, Store, open_store
from xraytransfer.errors import MissingExtraError, XrayTransferError
from xraytransfer.film_privacy import printable_line

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Manifest", "ManifestWriter", "arrow", "open_manifest", "rows_digest"]

KEY = b"xraytransfer_manifest"
VERSION = 1
ROWS_IN_GROUP = 100_000
"""Rows that are written, and read again, at once: about 15 MB."""


def arrow() -> Any:
    """Return the package pyarrow with its Parquet module.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MissingExtraError("parquet", "pyarrow") from error
    return pyarrow


def _schema() -> pyarrow.Schema:
    pa = arrow()
    return pa.schema([("address", pa.string()), ("size", pa.int64()), ("version", pa.string())])


def rows_digest(rows: Iterable[Entry]) -> str:
    """Return the SHA-256 of rows of a manifest, 64 hexadecimal digits; it changes with address, size or version."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.address, row.size, row.version]).encode())
    return digest.hexdigest()


class ManifestWriter:
    """Write a manifest, in memory that does not grow with it; a context manager.

    Parameters
    ----------
    path : Path
        A file of this machine, replaced where it exists. It is whole only after the block ended without an error.
    notes : dict
        What stands in the file beside the rows, such as the sources that were listed.
    """

    def __init__(self, path: Path, notes: dict[str, Any] | None = None) -> None:
        self.rows = 0
        self._notes = notes or {}
        self._waiting: list[Entry] = []
        self._digest = hashlib.sha256()
        self._writer = arrow().parquet.ParquetWriter(path, _schema(), compression="zstd", write_page_checksum=True)

    def __enter__(self) -> ManifestWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
            document = {"version": VERSION, "rows": self.rows, "sha256": self._digest.hexdigest(), **self._notes}
            self._writer.add_key_value_metadata({KEY: json.dumps(document).encode()})
        self._writer.close()

    def write(self, row: Entry) -> None:
        """Add a film.

        Raises
        ------
        XrayTransferError
            Its address is no Unicode text, as names of other systems may be: Parquet cannot hold it.
        """
        if not row.address.isprintable():
            _check_text(row.address)
        self._waiting.append(row)
        if len(self._waiting) == ROWS_IN_GROUP:
            self._flush()

    def _flush(self) -> None:
        rows, self._waiting = self._waiting, []
        self._digest.update(rows_digest(rows).encode())
        self.rows += len(rows)
        columns = [[row.address for row in rows], [row.size for row in rows], [row.version for row in rows]]
        self._writer.write_table(arrow().table(columns, schema=_schema()))


def _check_text(address: str) -> None:
    try:
        address.encode()
    except UnicodeEncodeError as error:
        raise XrayTransferError(
            f"{printable_line(address)}: its name is not in UTF-8, and a manifest cannot hold it; rename the file, or "
            "score its folder without a manifest"
        ) from error


@dataclass(frozen=True)
class Manifest:
    """A manifest that is open for reading.

    Attributes
    ----------
    address : str
    document : dict
        Format ``version``, number of ``rows``, ``sha256`` over all rows, and the writer's notes.
    """

    address: str
    document: dict[str, Any]
    _file: Any

    @property
    def rows(self) -> int:
        """Return the number of films."""
        return int(self.document["rows"])

    @property
    def sha256(self) -> str:
        """Return the checksum over all rows."""
        return str(self.document["sha256"])

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[Entry]:
        """Yield the films from row `start` to before row `stop`; only the row groups that hold them are read.

        Raises
        ------
        XrayTransferError
            A row group is damaged, or its store does not answer.
        """
        stop = self.rows if stop is None else stop
        first = 0
        for number in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(number).num_rows
            begin, end = max(start - first, 0), min(stop - first, count)
            if begin < end:
                yield from self._rows(number, begin, end)
            first += count

    def _rows(self, group: int, begin: int, end: int) -> list[Entry]:
        """Return some rows of a row group."""
        with _parquet_errors(self.address):
            # one thread: those of pyarrow that hold Python's file may abort the process when it ends at once
            piece = self._file.read_row_group(group, use_threads=False).slice(begin, end - begin)
            columns = (piece.column(name).to_pylist() for name in ("address", "size", "version"))
            return [Entry(*row) for row in zip(*columns, strict=True)]


@contextmanager
def _parquet_errors(address: str) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged file into an error that names it."""
    try:
        yield
    except (arrow().ArrowException, OSError, ValueError) as error:
        raise XrayTransferError(
            f"{address}: no Parquet file, or one that is damaged or cut short ({type(error).__name__}: {error}); write "
            "the manifest again"
        ) from error


def open_manifest(address: str) -> Manifest:
    """Open a manifest in a file or a store.

    Raises
    ------
    XrayTransferError
        There is no such file, it is cut short, is no manifest, or of a version that is not read.
    """
    pa = arrow()
    store = open_store(address)
    if not store.exists():
        raise XrayTransferError(f"{address}: no such file; write it with: xraytransfer manifest SOURCE... -o {address}")
    with _parquet_errors(address):
        file = pa.parquet.ParquetFile(store.open(), pre_buffer=False, page_checksum_verification=True)
        document = json.loads((file.schema_arrow.metadata or {}).get(KEY) or _footer(file) or b"{}")
    if document.get("version") != VERSION:
        found = f"of version {document['version']}" if "version" in document else "without a manifest's description"
        raise XrayTransferError(
            f"{address}: a file {found}; this version of xraytransfer reads manifests of version {VERSION}"
        )
    if document.get("rows") != file.metadata.num_rows or not file.schema_arrow.equals(_schema()):
        raise XrayTransferError(
            f"{address}: holds {file.metadata.num_rows} rows, its description says {document.get('rows')}; or other "
            "columns than a manifest has"
        )
    return Manifest(address, document, file)


def _footer(file: Any) -> bytes | None:
    """Return the description in the file's own metadata; pyarrow shows it beside the schema's, or there."""
    found: bytes | None = (file.metadata.metadata or {}).get(KEY)
    return found


def shard_bounds(rows: int, shard: int, shards: int) -> tuple[int, int]:
    """Return the first row of a shard and the row behind its last; shards are counted from 1."""
    return (shard - 1) * rows // shards, shard * rows // shards


def addresses_in_csv(store: Store) -> Iterator[Entry]:
    """Yield the films that a CSV file lists: column ``address``, and ``size`` and ``version`` where they are there.

    Raises
    ------
    XrayTransferError
        The file is no CSV in UTF-8, has no such column, a row without an address, or a size that is no number.
    """
    import csv
    import io

    with store.open() as file:
        rows = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""))
        try:
            columns: Sequence[str] = rows.fieldnames or ()
            if "address" not in columns:
                raise XrayTransferError(f"{store.address}: no column address; its columns: {', '.join(columns)}")
            for row in rows:
                yield _entry_of(row, f"{store.address}: line {rows.line_num}")
        except (UnicodeDecodeError, csv.Error) as error:
            raise XrayTransferError(
                f"{store.address}: no CSV file in UTF-8, behind line {rows.line_num}: {error}"
            ) from error


def _entry_of(row: dict[str, str], where: str) -> Entry:
    """Return the film of one row of a CSV file."""
    address, size = row["address"], row.get("size") or ""
    if not (address or "").strip():
        raise XrayTransferError(f"{where}: no address")
    if size and not (size.isascii() and size.isdigit()):
        raise XrayTransferError(f"{where}: size is {size!r}, expected a number")
    return Entry(address, int(size) if size else None, row.get("version") or None)
