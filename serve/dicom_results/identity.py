"""The identity of a film: its patient and examination, ready to be copied into results.

Headers break rules: dates that are no dates, accession numbers that are too long, a sex of "W". Identifiers and names
are copied unchanged, valid or not, because a changed identifier would file the result under another patient. Dates,
times and codes that break their rules are left empty.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydicom import Dataset, config
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ComputedRadiographyImageStorage
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

from xraytransfer.errors import ServeError

__all__ = ["NO_FILM", "UNKNOWN_MOMENT", "UNREADABLE", "Identity", "identify"]

UNKNOWN_MOMENT = ("19000101", "000000")
"""Date and time of results on a film without a date: the attributes must have a value (PS3.3 C.17.2)."""

UNREADABLE = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""The errors that pydicom raises while it reads a damaged object."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")


_ANY = re.compile(r".*", re.DOTALL)
_DATE = re.compile(r"\d{8}")
_TIME = re.compile(r"(([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?)?")
_AGE = re.compile(r"\d{3}[DWMY]")
_SEX = re.compile(r"[MFO]")
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")
_SWITCH = re.compile(r"\x1b[$(),-]{1,2}[A-Za-z]")  # escape sequence (PS3.3 tables C.12-3, C.12-4)

# keyword -> (pattern that a value must match, whether the result must hold the attribute even if empty)
_COPIED: dict[str, tuple[re.Pattern[str], bool]] = {
    "StudyDate": (_DATE, True),
    "StudyTime": (_TIME, True),
    "AccessionNumber": (_ANY, True),
    "ReferringPhysicianName": (_ANY, True),
    "StudyDescription": (_ANY, False),
    "PatientName": (_ANY, True),
    "PatientID": (_ANY, True),
    "IssuerOfPatientID": (_ANY, False),
    "PatientBirthDate": (_DATE, True),
    "PatientSex": (_SEX, True),
    "PatientAge": (_AGE, False),
    "StudyID": (_ANY, True),
    "TimezoneOffsetFromUTC": (_OFFSET, False),
}


@dataclass(frozen=True)
class Identity:
    """The attributes that a result takes over from its film.

    Attributes
    ----------
    study_uid, series_uid, sop_instance_uid, sop_class_uid : str
        The film's examination, series, own UID and SOP class.
    instance_number : int
        The film's number in its series, which its results take over; 1 where it has none.
    values : dict
        Keyword -> text of the patient's and the examination's attributes; empty where the film has
        none or breaks the attribute's rule.
    moment : tuple of str
        Date (DA) and time (TM) of the film, in its own time zone: `UNKNOWN_MOMENT` where it tells none.
    """

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    instance_number: int
    values: dict[str, str]
    moment: tuple[str, str]

    def evidence(self) -> Dataset:
        """Return a film without pixels and patient, for libraries that need a film to refer to."""
        film = Dataset()
        film.SOPClassUID, film.SOPInstanceUID = self.sop_class_uid, self.sop_instance_uid
        film.StudyInstanceUID, film.SeriesInstanceUID = self.study_uid, self.series_uid
        film.Modality = "DX"
        film.Rows = film.Columns = 1
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"):
            setattr(film, keyword, "")
        for keyword in ("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"):
            setattr(film, keyword, "")
        return film

    def stamp(self, result: Dataset, *, utf_8: bool) -> None:
        """Write patient and examination into a result, with a character set that holds them.

        `utf_8` says whether other text of the result needs UTF-8, whatever the film's text needs.

        Every Type 2 attribute of the Patient and General Study modules is present afterwards
        (PS3.3 C.7.1.1, C.7.2.1), empty where the film does not say.
        """
        result.StudyInstanceUID = self.study_uid
        for keyword, (_, required) in _COPIED.items():
            value = self.values[keyword]
            if value or required:
                # Not validated: an identifier that breaks a rule must still be the same identifier.
                result.add(DataElement(Tag(keyword), dictionary_VR(Tag(keyword)), value, validation_mode=config.IGNORE))
        text = "".join(self.values.values())
        result.SpecificCharacterSet = "ISO_IR 192" if utf_8 else _character_set(text)


NO_FILM = Identity(
    study_uid="1.2.1",
    series_uid="1.2.2",
    sop_instance_uid="1.2.3",
    sop_class_uid=str(ComputedRadiographyImageStorage),
    instance_number=1,
    values=dict.fromkeys(_COPIED, ""),
    moment=UNKNOWN_MOMENT,
)
"""The identity in templates: nobody's, so that nothing of one film can stand in the results of another."""


def identify(dataset: Dataset) -> Identity:
    """Return a film's identity.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The film; pixels are not needed.

    Raises
    ------
    ServeError
        The film lacks a valid UID of its own, its class, its series or its examination: nothing can
        refer to it.
    """
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
    uids = {name: _text(dataset, name).strip(" \0") for name in names}
    for name, value in uids.items():
        if len(value) > 64 or not _UID.fullmatch(value):
            state = "absent" if not value else "not a valid UID"
            raise ServeError(f"the film's {name} is {state}: no DICOM result can refer to it")
    values = {}
    for keyword, (pattern, _) in _COPIED.items():
        value = _text(dataset, keyword).strip(" \0\r\n")
        values[keyword] = value if pattern.fullmatch(value) and (pattern is not _DATE or _is_date(value)) else ""
    return Identity(
        study_uid=uids["StudyInstanceUID"],
        series_uid=uids["SeriesInstanceUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        sop_class_uid=uids["SOPClassUID"],
        instance_number=_instance_number(_text(dataset, "InstanceNumber").strip(" \0")),
        values=values,
        moment=_moment(dataset),
    )


def _moment(dataset: Dataset) -> tuple[str, str]:
    """Return the film's date and time: of acquisition, else of content, series or examination."""
    pairs = [_acquired(dataset)]
    pairs += [
        (_text(dataset, f"{kind}Date").strip(" \0"), _text(dataset, f"{kind}Time").strip(" \0"))
        for kind in ("Acquisition", "Content", "Series", "Study")
    ]
    for date, time in pairs:
        if _DATE.fullmatch(date) and _is_date(date):
            return date, (time[:6].ljust(6, "0") if _TIME.fullmatch(time) else "000000")
    return UNKNOWN_MOMENT


def _acquired(dataset: Dataset) -> tuple[str, str]:
    """Return date and time of Acquisition DateTime, whose parts may be absent from the right (PS3.5 6.2, DT).

    Its own offset from UTC goes before the film's Timezone Offset From UTC, which the results take over: where they
    differ, the moment is converted to the film's time zone.
    """
    digits, sign, offset = re.split(r"([+-]|$)", _text(dataset, "AcquisitionDateTime").strip(" \0"), maxsplit=1)
    date, time = digits[:8], digits[8:14]
    zone = _text(dataset, "TimezoneOffsetFromUTC").strip(" \0")
    if not (time and _TIME.fullmatch(time) and _OFFSET.fullmatch(sign + offset) and _OFFSET.fullmatch(zone)):
        return date, time
    try:
        moment = datetime.strptime(date + time.ljust(6, "0") + sign + offset, "%Y%m%d%H%M%S%z")
        moment = moment.astimezone(datetime.strptime(zone, "%z").tzinfo)
    except (ValueError, OverflowError):  # no date, or none that can be converted
        return date, time
    return moment.strftime("%Y%m%d").zfill(8), moment.strftime("%H%M%S")


def _is_date(digits: str) -> bool:
    try:
        datetime.strptime(digits, "%Y%m%d")
    except ValueError:
        return False
    return True


def _instance_number(text: str) -> int:
    """Return the number if it is positive and fits an Integer String, else 1."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) and int(text) > 0 else 1


def _text(dataset: Dataset, keyword: str) -> str:
    """Return an attribute's text; empty where absent.

    pydicom leaves the escape sequences of ISO 2022 IR 58 in the text that they switch to; they are no part of it.
    """
    return _SWITCH.sub("", _decoded(dataset, keyword))


def _decoded(dataset: Dataset, keyword: str) -> str:
    """Return an attribute's text as pydicom decodes it.

    Reads the raw bytes where pydicom has not converted them yet: its conversion prints invalid values in
    warnings, so a patient's name could get into a log.
    """
    element: Any = dataset.get_item(Tag(keyword))
    if element is None or not element.value:
        return ""
    if not isinstance(element, RawDataElement):
        value = element.value
        many = isinstance(value, list | tuple) or type(value).__name__ == "MultiValue"
        return "\\".join(map(str, value)) if many else str(value)
    encodings = _encodings(dataset)
    if dictionary_VR(Tag(keyword)) == "PN":
        return str(PersonName(element.value, encodings))
    return str(decode_bytes(element.value, encodings, TEXT_VR_DELIMS))


def _encodings(dataset: Dataset) -> list[str]:
    element: Any = dataset.get_item("SpecificCharacterSet")
    value = element.value if element is not None else None
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").strip(" \0").split("\\")
    try:
        return list(convert_encodings(value or ["ISO_IR 6"]))
    except LookupError:
        return ["iso8859"]


def _character_set(text: str) -> str:
    """Return Latin-1, which every archive reads, if it can encode the text, else UTF-8 (PS3.3 C.12.1.1.2)."""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 100"
