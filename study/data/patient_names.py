"""Identifiers of patients: the same patient may be written in several ways."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

__all__ = ["normalised_patient", "one_spelling"]


def normalised_patient(name: str) -> str:
    """Return an identifier in a form in which ``00000211``, ``211``, `` 211`` and ``211.0`` are the same.

    Programs for tables write ``211.0`` if a cell of the column is empty.
    """
    name = name.strip().casefold()
    number = re.fullmatch(r"0*(\d+?)(?:\.0+)?", name)
    return number[1] if number else name


def one_spelling(patients: NDArray[np.str_]) -> tuple[NDArray[np.str_], list[str]]:
    """Return identifiers in which each patient has one spelling, and a note if some had several.

    Two spellings would count as two patients, of whom one may be trained on and the other be tested.
    """
    names, inverse = np.unique(patients, return_inverse=True)
    spelling: dict[str, str] = {}
    kept = [spelling.setdefault(normalised_patient(str(name)), str(name)) for name in names]
    if len(spelling) == len(names):
        return patients, []
    return np.array(kept, np.str_)[inverse.reshape(-1)], [
        f"{len(names)} identifiers of patients are of {len(spelling)} patients, because some differ in case, spaces, "
        "leading zeros or a .0 at the end alone"
    ]
