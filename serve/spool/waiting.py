"""What waits in a spool, and whether it has room for more."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from xraytransfer.plural import counted

__all__ = ["Waiting", "WaitingResults", "room_problem"]

_MIB = 2**20


@dataclass(frozen=True)
class WaitingResults:
    """The results that wait for one destination.

    Attributes
    ----------
    results : int
    oldest_s : float
        Seconds since the oldest was made.
    failures : int
        How often the destination refused them.
    """

    results: int
    oldest_s: float
    failures: int


@dataclass(frozen=True)
class Waiting:
    """What waits in a spool.

    Attributes
    ----------
    films : int
        Films to be scored.
    oldest_film_s : float
        Seconds since the oldest was received; 0 where none waits.
    results : dict
        `WaitingResults` by destination; those without results are left out.
    """

    films: int
    oldest_film_s: float
    results: dict[str, WaitingResults]


def room_problem(folder: Path, films: int, capacity: int, min_free_bytes: int, size: int = 0) -> str | None:
    """Return why a spool takes no film of `size` bytes, or None.

    Parameters
    ----------
    folder : Path
    films, capacity : int
        Films received and not yet sent, and how many there may be.
    min_free_bytes : int
        Room that must be left on the disk.
    size : int

    Raises
    ------
    OSError
        The folder is not there.
    """
    if films >= capacity:
        return f"the spool holds {counted(films, 'film')}, as many as it may"
    free = shutil.disk_usage(folder).free
    if free - size < min_free_bytes:
        return f"the spool's disk has {free // _MIB} MiB free, and {min_free_bytes // _MIB} MiB must stay free"
    return None
