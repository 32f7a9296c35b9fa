"""The films that a command line names: files, folders and their subfolders, standard input."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from xraytransfer.errors import MissingExtraError, XrayTransferError

__all__ = ["STDIN", "films", "sample_film"]

STDIN = "-"


class _StandardInput(io.BytesIO):
    """One film from standard input, in memory, so that it can be read twice; called ``<stdin>``."""

    name = "<stdin>"

    def __init__(self) -> None:
        from xraytransfer.radiograph import MAX_PIXELS

        if sys.stdin is None:
            raise XrayTransferError("standard input is closed: pipe a film into it, or name a file")
        # one byte more than the reader's limit, so that it is the reader who refuses
        super().__init__(sys.stdin.buffer.read(4 * MAX_PIXELS + (64 << 20) + 1))


def films(paths: Iterable[str], *, without: Collection[str | os.PathLike[str]] = ()) -> Iterator[str | BinaryIO]:
    """Yield every film below the given paths, lazily, folders in sorted order.

    Parameters
    ----------
    paths : iterable of str
        Files, folders, or ``-`` for one film on standard input.
    without : collection of path-like
        Files and folders to pass over inside folders: where results are being written.

    Yields
    ------
    str or binary file
        A path that starts as it was given. A path that does not exist, and a folder that cannot be
        listed, is yielded too, so that reading it says so. Hidden files and folders are passed over
        inside folders; links to folders are not followed, so no walk is endless.
    """
    left_out = {os.path.realpath(path) for path in without}
    for path in paths:
        if path == STDIN:
            yield _StandardInput()
        elif os.path.isdir(path):
            yield from _below(path, left_out)
        else:
            yield path


def _below(folder: str, left_out: set[str]) -> Iterator[str]:
    names_left_out = {os.path.basename(path) for path in left_out}  # few paths need to be resolved
    unlisted: list[str] = []

    def wanted(root: str, name: str) -> bool:
        return not name.startswith(".") and not (
            name in names_left_out and os.path.realpath(os.path.join(root, name)) in left_out
        )

    for root, folders, files in os.walk(folder, onerror=lambda error: unlisted.append(str(error.filename))):
        folders[:] = sorted(name for name in folders if wanted(root, name))
        yield from (os.path.join(root, name) for name in sorted(files) if wanted(root, name))
    yield from unlisted


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
