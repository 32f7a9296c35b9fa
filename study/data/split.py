"""The split by patient: train, validation and test by a hash of the patient's identifier.

The split of a patient depends only on the identifier, the salt and the fractions. Adding films to a data set
therefore moves no patient to another split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.plural import counted
from xraytransfer.study.data.film_table import FilmTable

__all__ = ["FRACTIONS", "SALT", "SPLITS", "Split", "check_fractions", "patient_halves", "split_films"]

SPLITS = ("train", "validation", "test")
FRACTIONS = (0.70, 0.15, 0.15)
SALT = "xraytransfer"


@dataclass(eq=False)
class Split:
    """The split that each film belongs to.

    Attributes
    ----------
    of : NDArray
        For each film ``train``, ``validation`` or ``test``; empty for a film that is left out.
    record : dict
        The entry of config.json: method, fractions, salt, counts and a checksum of the assignment.
    """

    of: NDArray[np.str_]
    record: dict[str, object]

    def rows(self, name: str) -> NDArray[np.intp]:
        """Return the row numbers of a split, in the table's order."""
        return np.flatnonzero(self.of == name)


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise `StudyError` unless the fractions are three numbers, none below 0, that sum to 1."""
    if len(fractions) != 3 or not min(fractions) >= 0 or not abs(sum(fractions) - 1) <= 1e-6:
        raise StudyError(f"fractions {tuple(fractions)}: three numbers that sum to 1 expected")


def split_films(
    table: FilmTable,
    *,
    method: str = "patient-hash",
    fractions: Sequence[float] = FRACTIONS,
    salt: str = SALT,
    evaluation_minimum_width: int = 0,
) -> Split:
    """Assign each film to a split.

    Parameters
    ----------
    table : FilmTable
        The films.
    method : str
        ``patient-hash``, or ``official``: the data set's own split. Where that has no validation films, or no test
        films, they are taken from its training patients by hash.
    fractions : sequence of float
        Fractions of train, validation and test; their sum is 1.
    salt : str
        Text that is hashed with the identifiers; another salt gives another split.
    evaluation_minimum_width : int
        Films made from narrower pictures (`FilmTable.source_width`) are trained on but not evaluated; 0 evaluates all.

    Raises
    ------
    StudyError
        If the fractions are wrong, a patient falls into two splits, or a split is empty.
    """
    check_fractions(fractions)
    if method == "patient-hash":
        of = _hashed(table.patient, fractions, salt)
    elif method == "official":
        of = _official(table, fractions, salt)
    else:
        raise StudyError(f"split {method!r} is neither patient-hash nor official")
    if evaluation_minimum_width:
        of[(of != "train") & (table.source_width < evaluation_minimum_width)] = ""
    _check(table, of)
    counts = {
        name: {"images": int((of == name).sum()), "patients": len(np.unique(table.patient[of == name]))}
        for name in SPLITS
    }
    lines = sorted(f"{image}\t{part}" for image, part in zip(table.image, of, strict=True))
    record: dict[str, object] = {
        "method": method,
        "fractions": [float(f) for f in fractions],
        "salt": salt,
        "evaluation_minimum_width": evaluation_minimum_width,
        **counts,
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }
    return Split(of, record)


def patient_halves(patients: NDArray[np.str_], salt: str) -> NDArray[np.str_]:
    """Return the half, ``A`` or ``B``, that each film's patient belongs to.

    Two networks, each trained on one half of the training patients, can each teach the other half: films that the
    teacher has never seen. The half is independent of the split.

    Parameters
    ----------
    patients : ndarray
        str, shape (films,): identifiers.
    salt : str
        The salt of the split.
    """
    first = _hashed(patients, (0.5, 0.5, 0.0), f"{salt}:half") == SPLITS[0]
    return np.where(first, "A", "B")


def _hashed(patients: NDArray[np.str_], fractions: Sequence[float], salt: str) -> NDArray[np.str_]:
    def position(patient: str) -> float:
        return int.from_bytes(hashlib.sha256(f"{salt}:{patient}".encode()).digest()[:8], "big") / 2**64

    names, inverse = np.unique(patients, return_inverse=True)
    edges = np.cumsum(fractions)[:-1]
    part = np.searchsorted(edges, [position(str(name)) for name in names], side="right")
    return np.array(SPLITS, dtype="<U10")[part][inverse]


def _official(table: FilmTable, fractions: Sequence[float], salt: str) -> NDArray[np.str_]:
    of = table.official_split.astype("<U10")
    if unknown := sorted({str(name) for name in np.unique(of)} - {*SPLITS, ""}):
        raise StudyError(f"{table.name}: unknown names of splits {unknown}; known: {', '.join(SPLITS)}")
    if not (of == "train").any():
        raise StudyError(f"{table.name}: has no official split; take the split patient-hash")
    absent = [name for name in SPLITS if not (of == name).any()]
    shares = [f if name == "train" or name in absent else 0.0 for name, f in zip(SPLITS, fractions, strict=True)]
    inside = of == "train"
    of[inside] = _hashed(table.patient[inside], [share / sum(shares) for share in shares], salt)
    return of


def _check(table: FilmTable, of: NDArray[np.str_]) -> None:
    for first, second in ((0, 1), (0, 2), (1, 2)):
        both = np.intersect1d(table.patient[of == SPLITS[first]], table.patient[of == SPLITS[second]])
        if len(both):
            one, two = (table.image[(of == SPLITS[part]) & (table.patient == both[0])][0] for part in (first, second))
            raise StudyError(
                f"{table.name}: {counted(len(both), 'patient')} in both {SPLITS[first]} and {SPLITS[second]}, such as "
                f"that of {one} and {two}; take the split patient-hash"
            )
    for name in SPLITS:
        if not (of == name).any():
            raise StudyError(f"{table.name}: no film falls into {name}; more patients or other fractions are needed")
