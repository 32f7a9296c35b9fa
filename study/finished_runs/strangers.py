"""Which patients a finished run knows: a test on other films is one only where it has never seen them.

Known are the patients of the run's training and validation films. Patients of two data sets are compared where both
count patients in one name space: that of ``nih``, of ``chexpert``, or the one that a mapping file names
(``patients``). Names of images are compared always, without folder and ending.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.study.data.cache import cache_folder
from xraytransfer.study.data.external_predictions import comparable_names
from xraytransfer.study.data.film_table import FilmTable
from xraytransfer.study.data.mapping_file import read_mapping
from xraytransfer.study.data.run_data import read_table
from xraytransfer.study.data.split import split_films

__all__ = ["KnownFilms", "known_films", "name_space", "normalised_patient"]


@dataclass(frozen=True)
class KnownFilms:
    """What a run has seen.

    Attributes
    ----------
    name_space : str
        In which its data set counts patients.
    patients : frozenset of str
        Of its training and validation films, as `normalised_patient` writes them.
    images : tuple of str
        Names of these films.
    """

    name_space: str
    patients: frozenset[str]
    images: tuple[str, ...]

    def patients_of(self, table: FilmTable, space: str) -> NDArray[np.bool_]:
        """Return which films of a table show a patient that the run knows.

        Parameters
        ----------
        table : FilmTable
            Films of any data set.
        space : str
            The name space of its patients.

        Returns
        -------
        NDArray
            bool, shape (films,). All films of a patient count as known as soon as one does.
        """
        known = np.isin(*comparable_names(table.image, self.images))
        if space == self.name_space:
            known |= np.array([normalised_patient(name) in self.patients for name in table.patient], dtype=bool)
        return np.isin(table.patient, table.patient[known])


def normalised_patient(name: str) -> str:
    """Return an identifier such that ``00000211``, ``211`` and `` 211`` are one."""
    return re.sub(r"^0+(?=\d+$)", "", name.strip().casefold())


def name_space(data: Mapping[str, Any]) -> str:
    """Return the name space of the patients of the data set that the ``data`` part of a configuration names."""
    if data["name"] != "csv":
        return str(data["name"])
    mapping = data.get("mapping") or Path(data["folder"]) / "mapping.json"
    return read_mapping(Path(mapping)).patients


def known_films(config: Mapping[str, Any], folder: Path | None = None) -> KnownFilms:
    """Return what a run knows.

    Parameters
    ----------
    config : mapping
        The run's config.json.
    folder : Path or None
        Where the run's own data set lies now; None for where config.json says.

    Raises
    ------
    StudyError
        If the run's own data set cannot be read, or is not what it was.
    """
    data = {**config["data"], **({"folder": str(folder)} if folder else {})}
    try:
        return _known_films(json.dumps([data, config["split"], config["resolution"], config["intensity"]]))
    except StudyError as error:
        raise StudyError(
            f"which patients the run knows cannot be told without its own data set: {error} "
            f"(--own-folder says where it is now)"
        ) from error


@lru_cache(maxsize=8)
def _known_films(text: str) -> KnownFilms:
    data, split, (rows, columns), intensity = json.loads(text)
    table = read_table(data)
    # the name of a cache ends in the start of its key
    key = cache_folder(Path(), table, (rows, columns), intensity).name.rpartition("-")[2]
    if not str(data["cache_key"]).startswith(key):
        raise StudyError(f"{data['folder']}: the data set is not what it was when the run was planned")
    of = split_films(
        table,
        method=split["method"],
        fractions=split["fractions"],
        salt=split["salt"],
        evaluation_minimum_width=split["evaluation_minimum_width"],
    ).of
    seen = (of == "train") | (of == "validation")
    patients = frozenset(normalised_patient(str(name)) for name in np.unique(table.patient[seen]))
    return KnownFilms(name_space(data), patients, tuple(str(name) for name in table.image[seen]))
