"""The version of a film on disk, by which a continued run notices that the film has changed."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

__all__ = ["FilmVersion", "film_version"]


class FilmVersion(NamedTuple):
    """Size and time of the last change of a file."""

    size: int
    modified_ns: int

    @classmethod
    def from_record(cls, size: Any, modified_ns: Any) -> FilmVersion | None:
        """Return the version in a record of results; None where the record holds none."""
        return cls(int(size), int(modified_ns)) if size and modified_ns else None


def film_version(source: str) -> FilmVersion | None:
    """Return the version of a film that a path names; None for what is no file of this machine now."""
    try:
        status = os.stat(source)
    except (OSError, ValueError):
        return None
    return FilmVersion(status.st_size, status.st_mtime_ns)
