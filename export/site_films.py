"""A site's labelled films, as a table names them.

Conventions
-----------
The table is a CSV file with a column ``path`` (relative to the table's folder, or absolute), one column for
each observation that was labelled (identifier or printed name; 1 present, 0 absent, empty not labelled), and
optionally ``patient``. A film stands in one row.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import ExportError, StudyError
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.film_table import read_csv
from xraytransfer.study.data.patient_names import normalised_patient

__all__ = ["SiteFilms", "read_site_films"]

_MEANING = {"path": "path", "patient": "patient"} | {
    alias: row.identifier for row in OBSERVATIONS for alias in (row.identifier, row.name)
}
"""Column -> what it is."""
_EXPECTED = f"expected are a column path and at least one of {', '.join(row.identifier for row in OBSERVATIONS)}"
_NEAR = 0.75
"""Similarity (`difflib`) from which a column is taken for a misspelt one: Oedema and edema have 0.91, pid and
patient 0.40."""


@dataclass(frozen=True, eq=False)
class SiteFilms:
    """A site's films.

    Attributes
    ----------
    path : list of Path
        The films.
    patient : ndarray
        str, shape (films,), without differences in case, spaces and leading zeros; the path where the table has no
        such column or an empty cell.
    label : ndarray
        float32, shape (films, 6): 1, 0 or NaN.
    columns : tuple of str
        The table's columns, in its order.
    """

    path: list[Path]
    patient: NDArray[np.str_]
    label: NDArray[np.float32]
    columns: tuple[str, ...]

    @property
    def names_patients(self) -> bool:
        """Return whether the table has the column ``patient``."""
        return "patient" in self.columns

    @property
    def without_column(self) -> list[str]:
        """Return the identifiers of the observations that have no column."""
        held = {_MEANING.get(column) for column in self.columns}
        return [row.identifier for row in OBSERVATIONS if row.identifier not in held]

    @property
    def unused(self) -> list[str]:
        """Return the columns that are not read, each with the question whether a known one was meant."""
        return [f"{column!r}{_question(column, self.columns)}" for column in self.columns if column not in _MEANING]


def read_site_films(table: Path) -> SiteFilms:
    """Read a site's table.

    Parameters
    ----------
    table : Path
        CSV, UTF-8, as the module's conventions define.

    Raises
    ------
    ExportError
        The table cannot be read, lacks a column or has one twice, names no film or one twice, or holds another label
        than 1, 0 or nothing; the message names the line.
    """
    try:
        rows = read_csv(table, (), known=tuple(_MEANING))
    except StudyError as error:
        raise ExportError(f"{table}: {_EXPECTED}; {str(error).removeprefix(f'{table}: ')}") from error
    columns = list(rows[0])
    _check_columns(table, columns)
    places = {row.identifier: k for k, row in enumerate(OBSERVATIONS)}
    label_columns = {column: places[_MEANING[column]] for column in columns if _MEANING.get(column) in places}
    label = np.full((len(rows), len(OBSERVATIONS)), np.nan, np.float32)
    for index, row in enumerate(rows):
        for column, k in label_columns.items():
            label[index, k] = _label(row[column], f"{table}, line {index + 2}, {column}")
    paths = _paths(table, [row["path"] for row in rows])
    patients = [
        normalised_patient(row.get("patient") or "") or str(path) for row, path in zip(rows, paths, strict=True)
    ]
    return SiteFilms(paths, np.array(patients, dtype=np.str_), label, tuple(columns))


def _check_columns(table: Path, columns: Sequence[str]) -> None:
    """Check that films and labels have a column, and none has two."""
    meanings = [_MEANING[column] for column in columns if column in _MEANING]
    if "path" not in meanings or not set(meanings) - {"path", "patient"}:
        found = ", ".join(f"{column}{_question(column, columns)}" for column in columns)
        raise ExportError(f"{table}: {_EXPECTED}; it has {found or 'no columns'}")
    if twice := [meaning for meaning in meanings if meanings.count(meaning) > 1]:
        raise ExportError(f"{table}: has two columns for {twice[0]}; which one counts cannot be told")


def _question(column: str, columns: Sequence[str]) -> str:
    """Return `` (did you mean edema?)`` for an unknown column spelt nearly as one that the table lacks."""
    if column in _MEANING:
        return ""
    held = {_MEANING.get(other) for other in columns}
    lacking = [meaning for meaning in dict.fromkeys(_MEANING.values()) if meaning not in held]
    near = get_close_matches(column.strip().lower().replace(" ", "_"), lacking, n=1, cutoff=_NEAR)
    return f" (did you mean {near[0]}?)" if near else ""


def _paths(table: Path, cells: list[str]) -> list[Path]:
    """Return where the films lie; each of them once, or its patient would count double and its labels may differ."""
    line_of: dict[str, int] = {}
    for line, cell in enumerate(cells, start=2):
        if not cell:
            raise ExportError(f"{table}, line {line}: no path")
        first = line_of.setdefault(os.path.abspath(table.parent / cell), line)
        if first != line:
            raise ExportError(f"{table}, line {line}: {cell} stands in line {first} too; a film counts once")
    return [table.parent / cell for cell in cells]


def _label(text: str | None, where: str) -> float:
    value = (text or "").strip()
    if value in ("", "nan"):
        return float("nan")
    if value in ("1", "1.0", "0", "0.0"):
        return float(value)
    raise ExportError(f"{where}: {value!r} is no label; expected 1, 0 or nothing")
