"""Shards: scores one piece of an archive, or one after the other all that are not done yet.

Conventions
-----------
The results of an archive are a folder, on a disk or in a store. ``archive.json`` in it says what all parts have in
common: manifest, number of shards, model and options. A shard is done when its part is there. Everything is written in
one step and depends on nothing but film, model and options, so a shard may be scored twice, at the same time or after
a failure, by any number of machines: all of them write the same part.

Refusals are of two kinds. Those that lie in the film are results like others. Those that lie in the store may pass: the
film is tried again after a pause, and if it is still refused then the results stand in a *pending* part, which counts
as not done and is read again when the shard is retried.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xraytransfer.archives.films import Fetcher, fetch_all
from xraytransfer.archives.manifest import Manifest, rows_digest, shard_bounds
from xraytransfer.archives.parts import PartDescription, is_passing, part_bytes, read_part, result_row
from xraytransfer.archives.stores import Entry, Store, is_local, store_errors
from xraytransfer.errors import OutputError, XrayTransferError

if TYPE_CHECKING:
    from xraytransfer.classifier import Classifier
    from xraytransfer.prediction import Prediction, Refusal

__all__ = ["Archive", "ShardOptions", "ShardResult", "open_archive"]

ARCHIVE_FILE = "archive.json"
FORMAT = 1
FIRST_PAUSE_SECONDS = 2.0
"""Pause before films that were refused for a passing reason are tried again; each further one is four times as long."""
STORE_IS_DOWN = 100
"""So many films in a row that the store does not give end the shard: each may wait for a time-out of a minute."""


@dataclass(frozen=True)
class ShardOptions:
    """Options that change results, or what a row holds.

    Attributes
    ----------
    any_modality, any_film : bool
        As `Classifier.predict`.
    decode : {'full', 'reduced'}
        As `Classifier.predict`.
    unintended_films : {'note', 'refuse'}
        As `xraytransfer.load`; the archive's classifier must have been loaded with it.
    keep_names : bool
        Whether rows name films by their addresses, which may hold names of patients; else by the SHA-256 of the
        address.
    """

    any_modality: bool = False
    any_film: bool = False
    decode: str = "full"
    unintended_films: str = "note"
    keep_names: bool = False


@dataclass(frozen=True)
class ShardResult:
    """What became of a shard.

    Attributes
    ----------
    shard : int
    state : {'done', 'pending', 'there'}
        Its part was written; it holds films to be tried again; it was there before.
    scored, refused, passing : int
        Films that were scored, that are refused for good, and that are to be tried again; 0 for one that was there.
    """

    shard: int
    state: str
    scored: int = 0
    refused: int = 0
    passing: int = 0


@dataclass(frozen=True)
class Archive:
    """An archive that is being scored.

    Attributes
    ----------
    manifest : Manifest
    folder : Store
        Where the parts are written.
    shards : int
    classifier : Classifier
    options : ShardOptions
    readers : int
        Threads that fetch films.
    fetchers : dict
        Scheme -> function that fetches a film, for schemes that fsspec does not know.
    retries : int
        How often films that were refused for a passing reason are tried again.
    """

    manifest: Manifest
    folder: Store
    shards: int
    classifier: Classifier
    options: ShardOptions = field(default_factory=ShardOptions)
    readers: int = 16
    fetchers: dict[str, Fetcher] = field(default_factory=dict)
    retries: int = 3

    def document(self) -> dict[str, Any]:
        """Return what all parts have in common, as it stands in ``archive.json``."""
        model = self.classifier.description
        return {
            "format": FORMAT,
            "rows": self.manifest.rows,
            "manifest_sha256": self.manifest.sha256,
            "shards": self.shards,
            "model": f"{model.name} {model.version}",
            "model_sha256": model.sha256,
            "options": vars(self.options),
        }

    def films(self, shard: int) -> int:
        """Return the number of films in a shard."""
        start, stop = shard_bounds(self.manifest.rows, shard, self.shards)
        return stop - start

    def score(
        self, shard: int, *, retry_passing: bool = False, report: Callable[[int], None] = lambda films: None
    ) -> ShardResult:
        """Score one shard, unless its part is there.

        Parameters
        ----------
        shard : int
            Counted from 1.
        retry_passing : bool
            Whether a pending part is tried again; else it stays as it is.
        report : callable
            Called with the number of films each time that one is finished.

        Raises
        ------
        OutputError
            The folder cannot be written, or the store of the films is down: nothing is written then.
        """
        if not 1 <= shard <= self.shards:
            raise XrayTransferError(f"shard {shard}/{self.shards}: expected a number from 1 to {self.shards}")
        entries = list(self.manifest.read(*shard_bounds(self.manifest.rows, shard, self.shards)))
        description = self._describe(shard, entries)
        part, pending = (self.folder.below(description.name(pending=pending)) for pending in (False, True))
        if part.exists():
            pending.delete()  # left by a process that ended between the two steps
            return ShardResult(shard, "there")
        rows: list[dict[str, Any] | None] = [None] * len(entries)
        if pending.exists():
            before = read_part(pending)[1].to_pylist()
            if not retry_passing:
                return _count(shard, before)
            rows = [None if is_passing(row) else row for row in before]
        finished = self._score_rows(entries, rows, report)
        result = _count(shard, finished)
        data = part_bytes(description, finished)
        if result.passing:
            pending.write_bytes(data)
        else:
            part.write_bytes(data)
            pending.delete()
        return result

    def _describe(self, shard: int, entries: Sequence[Entry]) -> PartDescription:
        model = self.classifier.description.sha256
        return PartDescription(shard, self.shards, rows_digest(entries), model, dict(vars(self.options)))

    def _score_rows(
        self, entries: Sequence[Entry], rows: list[dict[str, Any] | None], report: Callable[[int], None]
    ) -> list[dict[str, Any]]:
        """Score the films whose row is None; those refused for a passing reason again, after a pause."""
        for attempt in range(self.retries + 1):
            left = [number for number, row in enumerate(rows) if row is None or is_passing(row)]
            if not left:
                break
            time.sleep(FIRST_PAUSE_SECONDS * 4 ** (attempt - 1) if attempt else 0)
            results = _until_store_is_down(self._predict([entries[number] for number in left]))
            for number, result in zip(left, results, strict=True):
                rows[number] = self._row(entries[number], result)
                report(0 if attempt else 1)
        return [row for row in rows if row is not None]

    def _predict(self, entries: Sequence[Entry]) -> Iterator[Prediction | Refusal]:
        films = fetch_all(entries, self.readers, self.fetchers)
        options = self.options
        return self.classifier.predict_many(
            films, any_modality=options.any_modality, any_film=options.any_film, decode=options.decode
        )

    def _row(self, entry: Entry, result: Prediction | Refusal) -> dict[str, Any]:
        row = {**result_row(result), "size": entry.size, "version": entry.version}
        if self.options.keep_names:
            return {**row, "film": entry.address}
        if row.get("message"):
            for name in (entry.address, result.source):
                row["message"] = row["message"].replace(name, "film")
        return {**row, "film": film_mark(entry.address)}


def film_mark(address: str) -> str:
    """Return the SHA-256 of an address: what a film is called in parts without names."""
    return hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()


def _until_store_is_down(results: Iterable[Prediction | Refusal]) -> Iterator[Prediction | Refusal]:
    """Pass results through; raise after many films in a row that their store did not give."""
    in_a_row = 0
    for result in results:
        down = not result.ok and result.reason == "unavailable"  # type: ignore[union-attr]  # only refusals are not ok
        in_a_row = in_a_row + 1 if down else 0
        if in_a_row == STORE_IS_DOWN:
            raise OutputError(
                f"{STORE_IS_DOWN} films in a row were not given by their store; try this shard again later"
            )
        yield result


def _count(shard: int, rows: Sequence[dict[str, Any]]) -> ShardResult:
    scored = sum(row["status"] == "ok" for row in rows)
    passing = sum(map(is_passing, rows))
    return ShardResult(shard, "pending" if passing else "done", scored, len(rows) - scored - passing, passing)


_SETTINGS = {"shards": "number of shards", "model_sha256": "model, by its checksum,", "options": "set of options"}
"""What keys of ``archive.json`` are called in messages; the others are called by their names."""


def open_archive(archive: Archive) -> None:
    """See that the folder can be written, and holds results of this manifest, model and options or none.

    Raises
    ------
    OutputError
        The folder cannot be written, or holds the results of another manifest, model, number of shards or options.
    """
    if is_local(archive.folder.address):
        with store_errors(archive.folder.address):
            archive.folder.file_system.makedirs(archive.folder.path, exist_ok=True)
    document, file = archive.document(), archive.folder.below(ARCHIVE_FILE)
    before = read_archive_file(archive.folder) if file.exists() else document
    different = [key for key in document if before.get(key) != document[key]]
    if different:
        raise OutputError(
            f"{archive.folder.address}: holds results of another "
            + ", of another ".join(
                f"{_SETTINGS.get(key, key)} ({before.get(key)}, not {document[key]})" for key in different
            )
            + ". Give the same manifest, model, number of shards and options, or another folder with -o"
        )
    file.write_bytes(json.dumps(document, indent=1).encode() + b"\n")  # also a proof that parts can be written


def read_archive_file(folder: Store) -> dict[str, Any]:
    """Return what ``archive.json`` of a folder of parts says.

    Raises
    ------
    OutputError
        There is none, or it is damaged, or of another version.
    """
    file = folder.below(ARCHIVE_FILE)
    if not file.exists():
        raise OutputError(
            f"{folder.address}: no {ARCHIVE_FILE} in it; give the folder that `predict --manifest` wrote with -o"
        )
    with store_errors(file.address):
        data = file.read_bytes()
    try:
        document: dict[str, Any] = json.loads(data)
        version = document["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{file.address}: damaged; delete it, and score a shard to have it written again") from error
    if version != FORMAT:
        raise OutputError(f"{file.address}: of format {version}; this version of xraytransfer reads format {FORMAT}")
    numbers = [document.get(key) for key in ("rows", "shards")]
    words = [document.get(key) for key in ("manifest_sha256", "model", "model_sha256")]
    whole = all(isinstance(one, int) and one > 0 for one in numbers) and all(isinstance(one, str) for one in words)
    if not whole or not isinstance(document.get("options"), dict):
        raise OutputError(f"{file.address}: damaged; delete it, and score a shard to have it written again")
    return document
