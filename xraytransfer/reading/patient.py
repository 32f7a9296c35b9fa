"""Whether a film's patient is one that models are meant for: a human adult, as far as the header says.

Only these facts leave this module, as fixed sentences; no age, date or species does.

References
----------
PS3.3 C.7.1.1 (species), C.7.2.2 (age), PS3.5 section 6.2 (AS, DT), PS3.16 CID 7454 (animal taxa).
"""

from __future__ import annotations

import re

from xraytransfer.reading.elements import Elements

__all__ = ["ANIMAL", "UNDER_18", "patient_notes"]

UNDER_18 = "the patient is under 18 by the header: models are meant for adults"
ANIMAL = "the patient is an animal by the header: models are meant for humans"

_AGE = re.compile(r"(\d{1,3})([DWMY])")
_ADULT = {"D": 18 * 365, "W": 18 * 52, "M": 18 * 12, "Y": 18}
_DATE = re.compile(r"\d{8}")
_YEAR_OR_MONTH = re.compile(r"(\d{4})(\d{2})?(?:[+-]\d{4})?")  # a date time (DT) without a day
_HUMAN = re.compile(r"homo\b|human|mensch|humain|human[oa]|umano", re.IGNORECASE)
_HUMAN_CODES = {"337915000", "L-85B00"}  # Homo sapiens in SNOMED CT and in its older codes


def patient_notes(header: Elements) -> list[str]:
    """Return the notes on a film whose patient models are not meant for; none where the header does not say."""
    return [note for note, found in ((UNDER_18, _is_minor(header)), (ANIMAL, _is_animal(header))) if found]


def _is_minor(header: Elements) -> bool:
    """Decide by Patient's Age, and where that is absent or no age, by the birth date and the film's."""
    if found := _AGE.fullmatch(header.text("PatientAge").upper()):
        return int(found[1]) < _ADULT[found[2]]
    born = header.text("PatientBirthDate")
    taken = _date_of_film(header)
    # whole years lie between two dates written YYYYMMDD when their difference as numbers is 10,000 for each
    return bool(taken and _DATE.fullmatch(born) and 0 <= int(taken) - int(born) < 18_0000)


def _date_of_film(header: Elements) -> str:
    """Return the day of the film; the last one that it can be where only a year or a month is told; else empty."""
    dates = (header.text(name)[:8] for name in ("AcquisitionDateTime", "AcquisitionDate", "ContentDate", "StudyDate"))
    if taken := next((date for date in dates if _DATE.fullmatch(date)), ""):
        return taken
    found = _YEAR_OR_MONTH.fullmatch(header.text("AcquisitionDateTime"))
    return found[1] + (found[2] or "12") + "31" if found else ""


def _is_animal(header: Elements) -> bool:
    codes = [item for item in header.sequence("PatientSpeciesCodeSequence") if item.text("CodeValue")]
    if codes:
        return not any(item.text("CodeValue").upper() in _HUMAN_CODES for item in codes)
    species = header.text("PatientSpeciesDescription")
    return bool(species) and _HUMAN.match(species) is None
