"""Films of further sources: other hospitals, side views, projections of CTs; some are learned from, others judge.

Conventions
-----------
A folder holds films as ``USE/VIEW/SOURCE/PATIENT/*``: DICOM, PNG or JPEG. USE is one of `USES`, VIEW one of `VIEWS`.
A patient must not stand under two uses of one source; that is checked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError, StudyError
from xraytransfer.radiograph import Film, read_radiograph
from xraytransfer.resize import resize
from xraytransfer.study.quality_gate.faults import SIDE

__all__ = [
    "FRONTAL",
    "LATERAL",
    "USES",
    "VIEWS",
    "Source",
    "films_of",
    "half_of_patients",
    "learned_sha256",
    "read_sources",
]

USES = {
    "train": "the network learns from them",
    "limits": "they set the limits, and half of their patients are judged with limits that the other half set",
    "judge": "they are judged only",
}
VIEWS = {
    "frontal": "real frontal films: to be accepted",
    "lateral": "real side views: to be refused",
    "projected-frontal": "projections of CTs (`projection`): to be accepted",
    "projected-lateral": "the same: to be refused",
    "projected-turned": "the same, between the two: there is no right answer, the rate is reported",
}


FRONTAL = ("frontal", "projected-frontal")
LATERAL = ("lateral", "projected-lateral")


@dataclass(frozen=True, eq=False)
class Source:
    """The films of one source.

    Attributes
    ----------
    name : str
        Name of its folder.
    use : str
        Of `USES`.
    view : str
        Of `VIEWS`.
    patients : tuple of str
        The patient of each film.
    films : list of ndarray
        uint8, `SIDE` pixels square, as a model resizes them.
    """

    name: str
    use: str
    view: str
    patients: tuple[str, ...]
    films: list[Film]

    @property
    def origin(self) -> str:
        """Return ``real`` or ``projected``."""
        return "projected" if self.view.startswith("projected-") else "real"

    @property
    def frontal(self) -> bool:
        """Return whether the films are to be accepted."""
        return self.view in FRONTAL

    def at(self, side: int) -> NDArray[np.uint8]:
        """Return the films at the size that a quality gate takes, uint8, shape (films, side, side)."""
        return np.stack([resize(film, (side, side)) for film in self.films])


def films_of(sources: list[Source], use: str, views: tuple[str, ...]) -> list[Film]:
    """Return all films of one use and some views."""
    return [film for source in sources if source.use == use and source.view in views for film in source.films]


def learned_sha256(sources: list[Source]) -> str:
    """Return a checksum of the films that a network learns from."""
    digest = hashlib.sha256()
    for source in (source for source in sources if source.use == "train"):
        digest.update(source.view.encode())
        for film in source.films:
            digest.update(film.tobytes())
    return digest.hexdigest()


def half_of_patients(source: Source) -> NDArray[np.bool_]:
    """Return which films belong to the one half of a source's patients: drawn by a hash, the same every time."""
    names = sorted(set(source.patients), key=lambda name: hashlib.sha256(name.encode()).digest())
    half = set(names[: len(names) // 2])
    return np.array([patient in half for patient in source.patients])


def read_sources(folder: Path | None) -> list[Source]:
    """Read the films of further sources.

    Parameters
    ----------
    folder : Path or None
        Laid out as this module says; None for no further sources.

    Returns
    -------
    list of Source
        Sorted by use, view and name.

    Raises
    ------
    StudyError
        A folder has another layout, a film cannot be read, or a patient of a source has two uses.
    """
    if folder is None:
        return []
    sources = [
        _read_source(path, use, view) for use in USES for view in VIEWS for path in _folders(folder / use / view)
    ]
    if not sources:
        raise StudyError(
            f"{folder}: expected films as USE/VIEW/SOURCE/PATIENT/film, such as limits/frontal/hannover/17/1.png; "
            f"USE is {', '.join(USES)}, VIEW is {', '.join(VIEWS)}"
        )
    _check_patients(sources)
    return sources


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _read_source(folder: Path, use: str, view: str) -> Source:
    paths = [path for patient in _folders(folder) for path in sorted(patient.iterdir()) if path.is_file()]
    if not paths:
        raise StudyError(f"{folder}: expected one folder for each patient, with films in it")
    try:
        films = [resize(read_radiograph(path, any_modality=True).pixels, (SIDE, SIDE)) for path in paths]
    except RadiographError as error:
        raise StudyError(f"a film of {folder} cannot be read: {error}") from error
    return Source(folder.name, use, view, tuple(path.parent.name for path in paths), films)


def _check_patients(sources: list[Source]) -> None:
    uses: dict[tuple[str, str], str] = {}
    for source in sources:
        for patient in source.patients:
            if uses.setdefault((source.name, patient), source.use) != source.use:
                raise StudyError(f"a patient of {source.name} is under two uses: {source.use} and another")
