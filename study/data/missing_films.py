"""Films that a table names and the disk does not have: they are counted before any long work, and after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError, StudyError
from xraytransfer.radiograph import read_radiograph
from xraytransfer.study.data.film_table import FilmTable

__all__ = ["ALLOWED", "MissingFilms", "count_absent", "left_out_line", "look_first", "missing_films"]

ALLOWED = 0.01
"""Share of films that may be missing without a word of the user."""
FIRST_LOOK = 100
"""Films that are looked at before anything else: enough to notice a wrong folder, and read in seconds."""


def look_first(table: FilmTable, intensity: str, cached: NDArray[np.bool_] | None = None) -> None:
    """Read a hundred films from all over the table, and refuse a table of which none can be read.

    Parameters
    ----------
    table : FilmTable
        The films.
    intensity : str
        Recipe of `xraytransfer.reading.intensity`.
    cached : NDArray or None
        bool, shape (images,): films that a cache holds already, which need not be on the disk any more.

    Raises
    ------
    StudyError
        If none of them can be read; the message shows where one was looked for, and why it was refused.
    """
    chosen = np.unique(np.linspace(0, len(table) - 1, FIRST_LOOK).astype(np.intp))
    reason = ""
    for row in chosen:
        if cached is not None and cached[row]:
            return
        try:
            read_radiograph(table.path[row], intensity=intensity)
        except RadiographError as error:
            reason = reason or f"{table.path[row]}: {error.message}"
        else:
            return
    raise StudyError(
        f"{table.name}: none of {len(chosen)} films from all over the table can be read, the first is {reason}. Is "
        "--folder the one that the names in the table start from, and is the data set unpacked?"
    )


@dataclass(frozen=True)
class MissingFilms:
    """How many films of a table are missing.

    Attributes
    ----------
    table : str
        Name of the data set.
    missing, films : int
        Number of films that are missing, and of all.
    shares : dict
        The share that is missing of all films, and of those of each official split.
    example : str
        Where one of them was looked for; empty if none is missing.
    """

    table: str
    missing: int
    films: int
    shares: Mapping[str, float]
    example: str

    def line(self) -> str:
        """Return one line for the terminal; empty if no film is missing."""
        if not self.missing:
            return ""
        share = 100 * self.missing / self.films
        return f"{self.missing:,} of {self.films:,} films are missing ({share:.1f} %), first {self.example}"

    def check(self, allowed: float) -> None:
        """Raise `StudyError` if more than the share `allowed` is missing, of all films or of those of a split."""
        over = {name: share for name, share in self.shares.items() if share > allowed}
        if over:
            parts = ", ".join(f"{100 * share:.1f} % of {name}" for name, share in over.items())
            raise StudyError(
                f"{self.table}: {self.line()}: {parts}, while {100 * allowed:g} % may be. Complete the data set; or "
                f"go on without them with --allow-missing {np.ceil(1000 * max(over.values())) / 1000:g}"
            )


def missing_films(table: FilmTable, available: NDArray[np.bool_] | None = None) -> MissingFilms:
    """Count the films that are missing.

    Parameters
    ----------
    table : FilmTable
        The films.
    available : NDArray or None
        bool, shape (images,): the films that a cache holds, which are not looked for on the disk.
    """
    there = np.array(
        [(available is not None and bool(available[row])) or path.is_file() for row, path in enumerate(table.path)],
        dtype=np.bool_,
    )
    return count_absent(table, there)


def count_absent(table: FilmTable, there: NDArray[np.bool_]) -> MissingFilms:
    """Return how many films are not among those that are there; bool, shape (images,)."""
    shares = {"all films": float((~there).mean())}
    for split in np.unique(table.official_split):
        if split:
            shares[f"the {split} films"] = float((~there[table.official_split == split]).mean())
    absent = np.flatnonzero(~there)
    example = str(Path(table.path[absent[0]])) if len(absent) else ""
    return MissingFilms(table.name, len(absent), len(table), shares, example)


def left_out_line(data: Mapping[str, object]) -> str:
    """Return what config.json says of films that were left out; empty if there were none.

    Parameters
    ----------
    data : mapping
        The ``data`` part of config.json: ``refused`` counts films by reason, ``images`` is the number of all.
    """
    refused = data.get("refused")
    if not isinstance(refused, Mapping) or not refused:
        return ""
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in refused.items())
    of = f" of {data['images']:,}" if "images" in data else ""
    return f"{sum(refused.values()):,}{of} films of {data.get('name')} are left out: {reasons}"
