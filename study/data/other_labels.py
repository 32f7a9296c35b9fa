"""Labels of films that another table holds: readers' labels beside those that a data set was published with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.plural import counted
from xraytransfer.study.data.external_predictions import comparable_names
from xraytransfer.study.data.film_table import FilmTable, read_csv, sha256_of_labels
from xraytransfer.study.data.mapping_file import read_mapping
from xraytransfer.study.data.patient_names import normalised_patient
from xraytransfer.study.data.predictions import LabelledFilms
from xraytransfer.study.data.row_filter import RowFilter, row_matches

__all__ = ["OtherLabels", "read_other_labels"]


@dataclass(frozen=True, eq=False)
class OtherLabels:
    """Labels that replace the labels of films.

    Attributes
    ----------
    images : list of str
        Names of the images, one for each row of `label`.
    observations : list of str
        Identifiers, one for each column of `label`.
    label : NDArray
        float32, shape (images, observations): 1, 0, -1 uncertain, NaN for an empty cell.
    patients : list of str
        The patient of each row, as the file writes it; empty if the mapping file names no column of patients.
    source : mapping
        Description of the file for records; with ``attribution`` where the mapping file has one.
    """

    images: list[str]
    observations: list[str]
    label: NDArray[np.float32]
    patients: list[str]
    source: Mapping[str, Any]

    def rows_of(self, films: FilmTable | LabelledFilms) -> NDArray[np.intp]:
        """Return for each film the row of its other labels, or -1: shape (films,).

        Raises
        ------
        StudyError
            If two rows are of one image, or a row is of another patient than the film of this name.
        """
        label_names, film_names = comparable_names(self.images, films.image)
        rows: dict[str, int] = {}
        for row, name in enumerate(label_names):
            if (first := rows.setdefault(name, row)) != row:
                raise StudyError(
                    f"{self.source['mapping']}: {self.images[first]} and {self.images[row]} differ in the ending "
                    "alone, which is not compared; keep one of these rows"
                )
        found = np.array([rows.get(name, -1) for name in film_names], np.intp)
        self._check_patients(films, found)
        return found

    def _check_patients(self, films: FilmTable | LabelledFilms, found: NDArray[np.intp]) -> None:
        """Raise `StudyError` if the rows name patients and a film has another one."""
        listed = np.flatnonzero(found >= 0).tolist() if self.patients else []
        others = [
            film
            for film in listed
            if normalised_patient(str(films.patient[film])) != normalised_patient(self.patients[found[film]])
        ]
        if others:
            raise StudyError(
                f"{self.source['mapping']}: {len(others)} of {counted(len(listed), 'film')} with other labels have "
                f"another patient there (first {films.image[others[0]]}): these are labels of another data set with "
                'the same names of images; or, if its identifiers are of another kind, take "patient" out of the '
                "mapping file"
            )

    def sha256(self) -> str:
        """Return the SHA-256 of images, observations and labels."""
        return sha256_of_labels(self.images, self.observations, self.label)

    def correct(self, table: FilmTable, rows: NDArray[np.intp]) -> dict[str, Any]:
        """Replace labels of some films of a table, in place; where a cell is empty, the table's own label stays.

        Parameters
        ----------
        table : FilmTable
            The films. Columns that it lacks are not added.
        rows : ndarray
            Row numbers of the films that may be changed.

        Returns
        -------
        dict
            ``films_corrected``, and ``labels_changed`` by observation.

        Raises
        ------
        StudyError
            If none of the observations, or none of the films, has other labels; or as `rows_of`.
        """
        shared = [name for name in table.observations if name in self.observations]
        row_of = self.rows_of(table)
        listed = rows[row_of[rows] >= 0]
        if not shared or not len(listed):
            what = "observations" if not shared else f"{len(rows)} films"
            raise StudyError(f"{self.source['mapping']}: none of the {what} of {table.name} has labels there")
        other = self.label[row_of[listed]][:, [self.observations.index(name) for name in shared]]
        cells = np.ix_(listed, np.array([table.observations.index(name) for name in shared], np.intp))
        before = table.label[cells]
        table.label[cells] = np.where(np.isnan(other), before, other)
        differs = ~np.isnan(other) & (other != before)
        changed = {name: int(differs[:, column].sum()) for column, name in enumerate(shared)}
        return {"films_corrected": len(listed), "labels_changed": changed}


def read_other_labels(folder: Path, mapping: Path, row_filter: RowFilter) -> OtherLabels:
    """Read labels through a mapping file. It needs no column of patients; if it names one, patients are compared.

    Parameters
    ----------
    folder : Path
        Folder of the CSV file.
    mapping : Path
        The mapping file.
    row_filter : RowFilter
        Values that select rows, in addition to those of the mapping file.

    Raises
    ------
    StudyError
        If a file cannot be read, a column is missing, no row is left, or an image stands in two rows.
    """
    plan = read_mapping(mapping, required=("table", "image", "labels"))
    path = folder / plan.table
    images, labels, patients = [], [], []
    for line, row in enumerate(read_csv(path, [*plan.columns(), *row_filter]), start=2):
        if row_matches(row, plan.rows) and row_matches(row, row_filter):
            images.append(row[plan.image])
            labels.append(plan.label(row, f"{plan.table} line {line}"))
            patients += [row[plan.patient]] if plan.patient else []
    if not images:
        raise StudyError(f"{path}: no row is left")
    if len(set(images)) < len(images):
        raise StudyError(f"{path}: an image stands in two rows")
    source = {
        "data": plan.name,
        "folder": folder.resolve().name,
        "mapping": mapping.name,
        "rows": {column: sorted(values) for column, values in {**plan.rows, **row_filter}.items()},
        **({"attribution": plan.attribution} if plan.attribution else {}),
    }
    return OtherLabels(images, list(plan.labels), np.stack(labels), patients, source)
