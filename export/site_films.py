"""A site's labelled films, as a table names them.

Conventions
-----------
The table is a CSV file with a column ``path`` (relative to the table's folder, or absolute), one column for
each observation that was labelled (identifier or printed name; 1 present, 0 absent, empty not labelled), and
optionally ``patient``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import ExportError
from xraytransfer.observations import OBSERVATIONS

__all__ = ["SiteFilms", "read_site_films"]

_EXPECTED = f"expected are a column path and at least one of {', '.join(row.identifier for row in OBSERVATIONS)}"


@dataclass(frozen=True, eq=False)
class SiteFilms:
    """A site's films.

    Attributes
    ----------
    path : list of Path
        The films.
    patient : ndarray
        str, shape (films,); the path where the table has no such column.
    label : ndarray
        float32, shape (films, 6): 1, 0 or NaN.
    """

    path: list[Path]
    patient: NDArray[np.str_]
    label: NDArray[np.float32]


def read_site_films(table: Path) -> SiteFilms:
    """Read a site's table.

    Parameters
    ----------
    table : Path
        CSV, UTF-8, as the module's conventions define.

    Raises
    ------
    ExportError
        The table cannot be read, lacks a column, or holds another label than 1, 0 or nothing; the message
        names the line.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows, columns = list(reader), list(reader.fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ExportError(f"{table}: is no CSV file in UTF-8; {_EXPECTED}") from error
    except OSError as error:
        raise ExportError(f"{table}: cannot be read: {error.strerror}") from error
    names = {alias: k for k, row in enumerate(OBSERVATIONS) for alias in (row.identifier, row.name)}
    label_columns = {column: names[column] for column in columns if column in names}
    if "path" not in columns or not label_columns:
        raise ExportError(f"{table}: {_EXPECTED}; it has {', '.join(columns) or 'no columns'}")
    label = np.full((len(rows), len(OBSERVATIONS)), np.nan, np.float32)
    for index, row in enumerate(rows):
        for column, k in label_columns.items():
            label[index, k] = _label(row[column], f"{table}, line {index + 2}, {column}")
    paths = [table.parent / (row["path"] or "") for row in rows]
    patients = [row.get("patient") or str(path) for row, path in zip(rows, paths, strict=True)]
    return SiteFilms(paths, np.array(patients, dtype=np.str_), label)


def _label(text: str | None, where: str) -> float:
    value = (text or "").strip()
    if value in ("", "nan"):
        return float("nan")
    if value in ("1", "1.0", "0", "0.0"):
        return float(value)
    raise ExportError(f"{where}: {value!r} is no label; expected 1, 0 or nothing")
