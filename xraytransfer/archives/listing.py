"""Listing: writes the manifest of folders, buckets, CSV files and other sources; an interrupted listing goes on.

Conventions
-----------
A source gives its films in pieces, each with its position. Finished pieces stand in a folder beside the manifest, in
files of some 100,000 rows that name the position of their last piece. An interrupted listing goes on behind it. One
process at a time works in that folder. A listing does not list its own files, where they lie below a source.
"""

from __future__ import annotations

import json
import os
import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from xraytransfer.archives.manifest import ROWS_IN_GROUP, ManifestWriter, addresses_in_csv, open_manifest
from xraytransfer.archives.stores import Entry, Store, absolute, open_store, store_errors
from xraytransfer.errors import BusyError, OutputError, XrayTransferError
from xraytransfer.files import write_json, write_with
from xraytransfer.folder_lock import FolderLock

__all__ = ["Lister", "Position", "list_films"]

Position: TypeAlias = Any
"""Where a piece ends, as JSON: the names of a folder below the source, a number of rows or of examinations."""

Lister: TypeAlias = Callable[[str, Position], Iterator[tuple[Position, list[Entry]]]]
"""Takes a source and the position to go on behind, None for the start; yields pieces with their positions."""

_PIECE = 10_000


def list_films(
    sources: Sequence[str],
    output: Path,
    *,
    listers: dict[str, Lister] | None = None,
    report: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write a manifest of all films in the sources, and return their number.

    Parameters
    ----------
    sources : sequence of str
        Folders and files of this machine, addresses such as ``s3://bucket/folder``, CSV files with a column
        ``address``, and whatever `listers` know by scheme.
    output : Path
        The manifest; replaced where it exists.
    listers : dict, optional
        Scheme -> lister of sources with that scheme, such as ``dicomweb+https``.
    report : callable
        Called with the number of films so far.

    Raises
    ------
    XrayTransferError
        A source cannot be listed or holds nothing, a film is listed twice, an unfinished listing beside the
        manifest is one of other sources, or another process writes this manifest.
    """
    work = output.with_name(output.name + ".listing")
    with ExitStack() as stack:
        try:
            stack.enter_context(FolderLock(work))
        except FileNotFoundError as error:
            raise BusyError(
                f"{work}: another process has removed this folder, because it has just written {output}; repeat the "
                "command if the films are to be listed again"
            ) from error
        return _list_in(work, sources, output, listers or {}, report)


def _list_in(
    work: Path, sources: Sequence[str], output: Path, listers: dict[str, Lister], report: Callable[[int], None]
) -> int:
    """Do the work of `list_films` in the folder of unfinished listings, as its only user."""
    _begin(work, sources)
    done = sorted(work.glob("rows-*.parquet"))
    after = open_manifest(str(done[-1])).document["after"] if done else None
    rows = sum(open_manifest(str(path)).rows for path in done)
    for source_and_position, found in _batches(sources, listers, after):
        entries = [entry for entry in found if not _is_own(entry, output, work)]
        path = work / f"rows-{len(done):06d}.parquet"
        _write(path, entries, {"after": source_and_position})
        done.append(path)
        rows += len(entries)
        report(rows)
    if not rows:
        raise XrayTransferError(f"no films in {', '.join(sources)}")
    try:
        _refuse_repetitions(done)
    except XrayTransferError:
        shutil.rmtree(work, ignore_errors=True)  # to go on would find the same films twice
        raise
    _save(output, lambda temporary: _merge(done, temporary, sources))
    shutil.rmtree(work, ignore_errors=os.name == "nt")  # there the lock of this process stays behind
    return rows


def _begin(work: Path, sources: Sequence[str]) -> None:
    """Make the folder of an unfinished listing, or see that the one there is of the same sources."""
    note = work / "sources.json"
    if note.is_file():
        before = json.loads(note.read_text("utf-8"))
        if before != list(sources):
            raise OutputError(
                f"{work}: holds an unfinished listing of {', '.join(before)}; name these sources to go on, or delete it"
            )
    else:
        write_json(note, list(sources))


def _is_own(entry: Entry, output: Path, work: Path) -> bool:
    """Return whether a film is the manifest that is being written, or a file of the unfinished listing."""
    folder, name = os.path.split(entry.address)
    if name == output.name:
        return os.path.realpath(entry.address) == os.path.realpath(output)
    return os.path.basename(folder) == work.name and os.path.realpath(folder) == os.path.realpath(work)


def _batches(
    sources: Sequence[str], listers: dict[str, Lister], after: Position
) -> Iterator[tuple[Position, list[Entry]]]:
    """Yield films in batches of one file each, with the number of the source and the position in it."""
    first, position = after or (0, None)
    waiting: list[Entry] = []
    end: Position = None
    for number in range(first, len(sources)):
        source = sources[number]
        lister = listers.get(source.partition("://")[0], _list_store)
        for reached, entries in lister(source, position):
            waiting += entries
            end = [number, reached]
            if len(waiting) >= ROWS_IN_GROUP:
                yield end, waiting
                waiting = []
        position = None
    if waiting:
        yield end, waiting


def _list_store(source: str, after: Position) -> Iterator[tuple[Position, list[Entry]]]:
    """List a folder with everything below it, the rows of a CSV file, or one film."""
    store = open_store(source)
    with store_errors(source):
        try:
            entry = store.info()
        except FileNotFoundError:
            entry = None
    if entry is not None and not entry.is_folder:
        if source.lower().endswith(".csv"):
            yield from _list_csv(store, entry, after)
        elif after is None:
            yield 1, [_from_anywhere(entry)]
        return
    found = entry is not None
    for names, entries in _walk(store, (), None if after is None else tuple(after)):
        found = True
        yield list(names), entries
    if not found:
        raise XrayTransferError(f"{source}: no such file or folder")


def _from_anywhere(entry: Entry) -> Entry:
    """Return an entry whose address holds in any working directory, so that no film has two names."""
    return replace(entry, address=absolute(entry.address))


def _list_csv(store: Store, file: Entry, after: Position) -> Iterator[tuple[Position, list[Entry]]]:
    """Yield the films of a CSV file; the position is the number of a row, and the version of the file."""
    done, version = after or (0, file.version)
    if version != file.version:
        raise XrayTransferError(
            f"{store.address}: has changed since its listing began; delete the unfinished listing (a folder whose name "
            "ends in .listing, beside the manifest), and list it again"
        )
    piece: list[Entry] = []
    number = 0
    for number, entry in enumerate(addresses_in_csv(store), 1):
        if number > done:
            piece.append(_from_anywhere(entry))
        if len(piece) == _PIECE:
            yield (number, version), piece
            piece = []
    if piece:
        yield (number, version), piece


def _walk(
    folder: Store, names: tuple[str, ...], after: tuple[str, ...] | None
) -> Iterator[tuple[tuple[str, ...], list[Entry]]]:
    """Yield each folder's films, a folder before what is below it, names sorted: the order of tuples of names.

    Folders up to `after` are passed over. Names that begin with a dot are passed over, as `predict` does in folders.
    """
    waiting = [(folder, names)]  # and no recursion: folders may be nested deeper than Python's stack
    while waiting:
        store, names = waiting.pop()
        with store_errors(store.address):
            entries = [entry for entry in store.entries() if not _name(entry).startswith(".")]
        if after is None or names > after:
            films = [entry for entry in entries if not entry.is_folder]
            if films:
                yield names, films
        for entry in reversed(entries):
            below = (*names, _name(entry))
            if entry.is_folder and (after is None or below >= after[: len(below)]):
                waiting.append((store.below(_name(entry)), below))


def _name(entry: Entry) -> str:
    return entry.address.rstrip("/").rpartition("/")[2]


def _write(path: Path, entries: list[Entry], notes: dict[str, Any]) -> None:
    def write(temporary: Path) -> None:
        with ManifestWriter(temporary, notes) as writer:
            for entry in entries:
                writer.write(entry)

    _save(path, write)


def _save(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all; an error of the disk names it."""
    try:
        write_with(path, write)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _merge(pieces: list[Path], output: Path, sources: Sequence[str]) -> None:
    with ManifestWriter(output, {"sources": list(sources)}) as writer:
        for piece in pieces:
            for entry in open_manifest(str(piece)).read():
                writer.write(entry)


def _refuse_repetitions(pieces: list[Path]) -> None:
    """Refuse films that are listed twice, as overlapping sources make them; eight bytes of memory for each film."""
    marks = array("Q")
    for piece in pieces:
        for entry in open_manifest(str(piece)).read():
            marks.append(int.from_bytes(blake2b(entry.address.encode(), digest_size=8).digest(), "big"))
    values, counts = np.unique(np.frombuffer(marks, dtype=np.uint64), return_counts=True)
    repeated = set(values[counts > 1].tolist())
    if not repeated:
        return
    for piece in pieces:
        for entry in open_manifest(str(piece)).read():
            mark = int.from_bytes(blake2b(entry.address.encode(), digest_size=8).digest(), "big")
            if mark in repeated:
                raise XrayTransferError(
                    f"{entry.address}: listed twice, like {len(repeated) - 1} other films; do the sources overlap?"
                )
