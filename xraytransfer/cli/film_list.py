"""The films that a command line names: files, folders, patient discs, zip archives, standard input."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from xraytransfer.errors import MissingExtraError, XrayTransferError

if TYPE_CHECKING:
    from xraytransfer.prediction import Refusal

__all__ = ["STDIN", "ListedFilm", "films", "is_no_film", "sample_film"]

STDIN = "-"

# Files that viewers on discs leave empty.
_EMPTY_ON_DISCS = frozenset({"LOCKFILE"})
# A file of such a name that is no film is a damaged one.
_FILM_ENDINGS = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg", ".zip"})


class _StandardInput(io.BytesIO):
    """One film from standard input, in memory, so that it can be read twice; called ``<stdin>``."""

    name = "<stdin>"

    def __init__(self) -> None:
        from xraytransfer.radiograph import MAX_PIXELS

        if sys.stdin is None:
            raise XrayTransferError("standard input is closed: pipe a film into it, or name a file")
        # one byte more than the reader's limit, so that it is the reader who refuses
        super().__init__(sys.stdin.buffer.read(4 * MAX_PIXELS + (64 << 20) + 1))


class ListedFilm(str):
    """A file that a DICOMDIR lists: it counts as one that was named, and is never passed over."""

    __slots__ = ()


def films(paths: Iterable[str], *, without: Collection[str | os.PathLike[str]] = ()) -> Iterator[str | BinaryIO]:
    """Yield every film below the given paths, lazily, folders in sorted order.

    Parameters
    ----------
    paths : iterable of str
        Files, folders, DICOMDIR files, zip archives, or ``-`` for one film on standard input.
    without : collection of path-like
        Files and folders to pass over inside folders: where results are being written.

    Yields
    ------
    str or binary file
        A path that starts as it was given, or a member of a zip archive. A path that does not exist, and a folder that
        cannot be listed, is yielded too, so that reading it says so. Hidden files and folders are passed over
        inside folders; links to folders are not followed, so no walk is endless.

    Raises
    ------
    XrayTransferError
        A DICOMDIR cannot be read.
    """
    left_out = {os.path.realpath(path) for path in without}
    for path in paths:
        if path == STDIN:
            yield _StandardInput()
        elif os.path.isdir(path):
            for file in _below(path, left_out):
                yield from _members(file) if _is_zip(file) else (file,)
        elif os.path.basename(path).upper() == "DICOMDIR":
            from xraytransfer.cli.film_archives import files_of_dicomdir

            yield from map(ListedFilm, files_of_dicomdir(path))
        elif _is_zip(path):
            yield from _members(path)
        else:
            yield path


def _members(archive: str) -> Iterator[str | BinaryIO]:
    """Yield the files of a zip archive; what that needs is imported only where there is one."""
    from xraytransfer.cli.film_archives import zip_members

    yield from zip_members(archive)


def _is_zip(path: str) -> bool:
    """Return whether a file is a zip archive, by its name and its first bytes."""
    if not path.lower().endswith(".zip") or not os.path.isfile(path):  # opening a pipe waits for its other end
        return False
    try:
        with open(path, "rb") as file:
            return file.read(4) in (b"PK\3\4", b"PK\5\6")
    except OSError:
        return False  # reading it says what is wrong


def is_no_film(refusal: Refusal, film: str | BinaryIO, named: Collection[str]) -> bool:
    """Return whether a refused file is plainly no film, so that it is counted and not listed.

    `film` is what `films` yielded. Only files that were found below a folder or in an archive count: who names a file
    wants to know what is wrong with it. And only what is whole and something else: another kind of file, an object of
    another modality, several frames.
    """
    if isinstance(film, ListedFilm) or refusal.source in named or refusal.source == _StandardInput.name:
        return False
    if refusal.reason == "unsupported-format" and _is_empty_or_blank(refusal.source):
        return os.path.basename(refusal.source) in _EMPTY_ON_DISCS
    if refusal.reason == "unsupported-format":
        return os.path.splitext(refusal.source)[1].lower() not in _FILM_ENDINGS
    if refusal.reason == "multi-frame":  # by the header: pixels that are too long for one frame are a damaged film
        return ((refusal.radiograph or {}).get("frames") or 0) > 1
    return refusal.reason == "not-a-radiograph"


def _is_empty_or_blank(path: str) -> bool:
    """Return whether a file holds nothing, or begins with zeros: what is left of a film that was not copied whole."""
    if not os.path.isfile(path):  # opening a pipe waits for its other end
        return False
    try:
        with open(path, "rb") as file:
            return not file.read(132).strip(b"\0")
    except OSError:
        return False


def _below(folder: str, left_out: set[str]) -> Iterator[str]:
    names_left_out = {os.path.basename(path) for path in left_out}  # few paths need to be resolved
    unlisted: list[str] = []

    def wanted(root: str, name: str) -> bool:
        return not name.startswith(".") and not (
            name in names_left_out and os.path.realpath(os.path.join(root, name)) in left_out
        )

    waiting = [folder]  # and not os.walk, which ends at folders nested as deep as Python's stack before Python 3.12
    while waiting:
        root = waiting.pop()
        try:
            with os.scandir(root) as entries:
                found = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries)
        except OSError:
            unlisted.append(root)
            continue
        found = [entry for entry in found if wanted(root, entry[0])]
        yield from (os.path.join(root, name) for name, is_folder, _ in found if not is_folder)
        waiting += [os.path.join(root, name) for name, is_folder, link in reversed(found) if is_folder and not link]
    yield from unlisted


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # such as a link to itself: reading it says what is wrong
        return False


def sample_film() -> str:
    """Return the path of a real chest film: RG1_UNCR.dcm of the PyPI package pydicom-data.

    Raises
    ------
    MissingExtraError
        The package is not installed.
    """
    package = importlib.util.find_spec("data_store")  # the module that the package pydicom-data installs
    for folder in (package.submodule_search_locations or []) if package else []:
        film = Path(folder) / "data" / "RG1_UNCR.dcm"
        if film.is_file():
            return str(film)
    raise MissingExtraError("sample", "pydicom-data")
