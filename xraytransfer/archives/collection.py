"""Collection: how far an archive is, and all its parts as one file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xraytransfer.archives.manifest import Manifest, arrow, rows_digest, shard_bounds
from xraytransfer.archives.parts import read_part, results_schema
from xraytransfer.archives.shards import film_mark, read_archive_file
from xraytransfer.archives.stores import Entry, Store, store_errors
from xraytransfer.errors import PASSING, OutputError
from xraytransfer.files import write_with

__all__ = ["ArchiveStatus", "collect", "read_status"]

_NAME = re.compile(r"(part|pending)-(\d+)-of-(\d+)-[0-9a-f]{16}\.parquet")


@dataclass(frozen=True)
class ArchiveStatus:
    """How far an archive is, told by the names in its folder alone.

    Attributes
    ----------
    document : dict
        ``archive.json``.
    done, pending : dict
        Number of the shard -> the part, in order.
    """

    document: dict[str, Any]
    done: dict[int, Entry]
    pending: dict[int, Entry]

    @property
    def shards(self) -> int:
        """Return the number of shards."""
        return int(self.document["shards"])

    @property
    def missing(self) -> list[int]:
        """Return the shards of which there is no part at all."""
        return [shard for shard in range(1, self.shards + 1) if shard not in self.done and shard not in self.pending]

    def films(self, shards: Any) -> int:
        """Return the number of films in some shards."""
        bounds = (shard_bounds(int(self.document["rows"]), shard, self.shards) for shard in shards)
        return sum(stop - start for start, stop in bounds)


def read_status(folder: Store) -> ArchiveStatus:
    """Return how far an archive is.

    Raises
    ------
    OutputError
        This is no folder of parts, or holds two parts of one shard.
    """
    document = read_archive_file(folder)
    with store_errors(folder.address):
        entries = folder.entries()
    found: dict[str, dict[int, Entry]] = {"part": {}, "pending": {}}
    for entry in entries:
        match = _NAME.fullmatch(entry.address.rpartition("/")[2])
        if match is None:
            continue
        kind, shard, shards = match[1], int(match[2]), int(match[3])
        if shards != document["shards"] or shard in found[kind]:
            raise OutputError(
                f"{entry.address}: a second part of shard {shard}, or of another number of shards than "
                f"{document['shards']}; delete the parts that do not belong to this archive"
            )
        found[kind][shard] = entry
    pending = {shard: entry for shard, entry in found["pending"].items() if shard not in found["part"]}
    return ArchiveStatus(document, found["part"], pending)


def collect(
    folder: Store,
    output: Path,
    *,
    manifest: Manifest | None = None,
    allow_gaps: bool = False,
    report: Callable[[int], None] = lambda films: None,
) -> Counter[str]:
    """Write all parts of an archive as one Parquet or CSV file, in the order of the manifest.

    Parameters
    ----------
    folder : Store
    output : Path
        Ends in ``.parquet`` or ``.csv``; written whole or not at all.
    manifest : Manifest, optional
        Compares every row with the film that it should belong to.
    allow_gaps : bool
        Whether shards and films may be missing; else they are refused.
    report : callable
        Called with the number of films of each part.

    Returns
    -------
    Counter
        Number of films by status: ``ok``, or a reason.

    Raises
    ------
    OutputError
        Parts are missing, damaged, or of another model or manifest; or the output cannot be written.
    """
    status = read_status(folder)
    if (status.missing or status.pending) and not allow_gaps:
        raise OutputError(_gaps(folder, status))
    if manifest is not None and manifest.sha256 != status.document["manifest_sha256"]:
        raise OutputError(f"{folder.address}: parts of another manifest than {manifest.address}")
    counts: Counter[str] = Counter()
    parts = {**status.pending, **status.done}

    def write(temporary: Path) -> None:
        with _table_writer(temporary, output.suffix) as writer:
            for shard in sorted(parts):
                table = _checked(folder.below(parts[shard].address.rpartition("/")[2]), shard, status, manifest)
                counts.update(table.column("status").to_pylist())
                writer.write_table(table.replace_schema_metadata(None))
                report(table.num_rows)

    try:
        write_with(output, write)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written: {error.strerror or error}") from error
    return counts


def _gaps(folder: Store, status: ArchiveStatus) -> str:
    """Return what to say of shards that are not done."""
    pieces = []
    if status.missing:
        shown = ", ".join(map(str, status.missing[:10])) + (" ..." if len(status.missing) > 10 else "")
        pieces.append(f"{len(status.missing)} of {status.shards} shards are missing ({shown}); score them")
    if status.pending:
        shown = ", ".join(map(str, list(status.pending)[:10])) + (" ..." if len(status.pending) > 10 else "")
        pieces.append(
            f"{len(status.pending)} shards hold films that their store did not give ({shown}); try them again with "
            "--retry-passing"
        )
    return f"{folder.address}: {'; '.join(pieces)}; or collect what is there with --allow-gaps"


def _checked(file: Store, shard: int, status: ArchiveStatus, manifest: Manifest | None) -> Any:
    """Return a part's rows; refuse a part that does not belong to this archive."""
    description, table = read_part(file)
    expected = (shard, status.shards, status.document["model_sha256"], status.document["options"])
    if (description.shard, description.shards, description.model_sha256, description.options) != expected:
        raise OutputError(f"{file.address}: a part of another model, or of other options, than archive.json names")
    start, stop = shard_bounds(int(status.document["rows"]), shard, status.shards)
    if table.num_rows != stop - start:
        raise OutputError(f"{file.address}: holds {table.num_rows} films, expected {stop - start}; delete it")
    if manifest is not None:
        entries = list(manifest.read(start, stop))
        names = [entry.address for entry in entries]
        if not description.options["keep_names"]:
            names = list(map(film_mark, names))
        if rows_digest(entries) != description.rows_sha256 or names != table.column("film").to_pylist():
            raise OutputError(f"{file.address}: holds other films than the manifest lists for shard {shard}")
    return table


@contextmanager
def _table_writer(path: Path, suffix: str) -> Iterator[Any]:
    """Open a writer of tables: Parquet, or CSV for names that end so."""
    pa = arrow()
    if suffix == ".parquet":
        with pa.parquet.ParquetWriter(path, results_schema(), compression="zstd") as writer:
            yield writer
    elif suffix == ".csv":
        import pyarrow.csv

        with pyarrow.csv.CSVWriter(path, results_schema()) as writer:
            yield writer
    else:
        raise OutputError(f"a collection ends in .parquet or .csv, not in {suffix or 'nothing'}")


def passing_films(counts: Counter[str]) -> int:
    """Return how many films are to be tried again."""
    return sum(counts[reason] for reason in PASSING)
