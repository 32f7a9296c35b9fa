"""The films that a command line names: files, folders with all that is below them, standard input."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from xraytransfer.errors import MissingExtraError

__all__ = ["STDIN", "films", "sample_film"]

STDIN = "-"


class _StandardInput(io.BytesIO):
    """One film from standard input, in memory, so that it can be read twice; called ``<stdin>``."""

    name = "<stdin>"

    def __init__(self) -> None:
        from xraytransfer.radiograph import MAX_PIXELS

        # one byte more than the reader's limit, so that it is the reader who refuses
        super().__init__(sys.stdin.buffer.read(4 * MAX_PIXELS + (64 << 20) + 1))


def films(paths: Iterable[str]) -> Iterator[str | BinaryIO]:
    """Yield every film below the given paths, lazily, folders in sorted order.

    Parameters
    ----------
    paths : iterable of str
        Files, folders, or ``-`` for one film on standard input.

    Yields
    ------
    str or binary file
        A path that starts as it was given. A path that does not exist is yielded too, so that
        reading it says so. Hidden files and folders are passed over inside folders; links to
        folders are not followed, so no walk is endless.
    """
    for path in paths:
        if path == STDIN:
            yield _StandardInput()
        elif os.path.isdir(path):
            yield from _below(path)
        else:
            yield path


def _below(folder: str) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield os.path.join(root, name)


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
