"""The films and patients that a finished run knows: an external test is valid only for other patients.

A run knows the patients of its training and validation films. The patients of two data sets are compared if both data
sets use the same name space for their identifiers: that of ``nih``, that of ``chexpert``, or the one that a mapping
file names (``patients``). The names of images, without folder and ending, are always compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
from xraytransfer.study.data.patient_names import normalised_patient
from xraytransfer.study.data.placement import placement_of
from xraytransfer.study.data.predictions import LabelledFilms
from xraytransfer.study.data.run_data import read_table
from xraytransfer.study.data.split import split_films

__all__ = ["KnownFilms", "known_films", "name_space"]


@dataclass(frozen=True)
class KnownFilms:
    """The training and validation films of a run, or those of other splits.

    Attributes
    ----------
    name_space : str
        Name space of the patients of its data set.
    patients : frozenset of str
        Patients of these films, as `normalised_patient` writes them.
    images : tuple of str
        Names of these films.
    """

    name_space: str
    patients: frozenset[str]
    images: tuple[str, ...]

    def patients_of(self, table: FilmTable | LabelledFilms, name_space: str) -> NDArray[np.bool_]:
        """Return which films of a table show a patient that the run knows.

        Parameters
        ----------
        table : FilmTable or LabelledFilms
            Films of any data set.
        name_space : str
            Name space of its patients.

        Returns
        -------
        NDArray
            bool, shape (films,). If the run knows one film of a patient, it counts as knowing all of them.
        """
        known = np.isin(*comparable_names(table.image, self.images))
        if name_space == self.name_space:
            known |= np.array([normalised_patient(name) in self.patients for name in table.patient], dtype=bool)
        return np.isin(table.patient, table.patient[known])


def name_space(data: Mapping[str, Any]) -> str:
    """Return the name space of the patients of the data set that the ``data`` part of a configuration names."""
    if data["name"] != "csv":
        return str(data["name"])
    mapping = data.get("mapping") or Path(data["folder"]) / "mapping.json"
    return read_mapping(Path(mapping)).patients


def known_films(
    config: Mapping[str, Any], folder: Path | None = None, splits: Sequence[str] = ("train", "validation")
) -> KnownFilms:
    """Return the films that a run knows.

    Parameters
    ----------
    config : mapping
        config.json of the run.
    folder : Path or None
        Where the run's own data set is now; None for the folder that config.json names.
    splits : sequence of str
        The splits whose films are returned; those that the run knows, unless other ones are named.

    Raises
    ------
    StudyError
        If the run's own data set cannot be read, or has changed since the run was planned.
    """
    data = {**config["data"], **({"folder": str(folder)} if folder else {})}
    try:
        recipe = [config["resolution"], config["intensity"], placement_of(config)]
        return _known_films(json.dumps([data, config["split"], *recipe]), tuple(splits))
    except StudyError as error:
        raise StudyError(
            f"which patients the run knows cannot be told without its own data set: {error} "
            f"(--own-folder of `study test` and --data-folder of `export` say where it is now)"
        ) from error


@lru_cache(maxsize=8)
def _known_films(settings: str, splits: tuple[str, ...]) -> KnownFilms:
    """Return the films of some splits of a run with these settings (JSON): many runs share them."""
    data, split, (rows, columns), *recipe = json.loads(settings)
    table = read_table(data)
    # the name of a cache folder ends in the start of its key
    key = cache_folder(Path(), table, (rows, columns), *recipe).name.rpartition("-")[2]
    if not str(data["cache_key"]).startswith(key):
        raise StudyError(f"{data['folder']}: the data set is not what it was when the run was planned")
    of = split_films(
        table,
        method=split["method"],
        fractions=split["fractions"],
        salt=split["salt"],
        evaluation_minimum_width=split["evaluation_minimum_width"],
    ).of
    known = np.isin(of, splits)
    patients = frozenset(normalised_patient(str(name)) for name in np.unique(table.patient[known]))
    return KnownFilms(name_space(data), patients, tuple(str(name) for name in table.image[known]))
