"""Films whose every text element is a marker, for tests that search logs and files for them."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import DicomDictionary
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

MARK = "ZZMARK"
MARK_UID = "987654321"
FORGED = "\n2026-11-27 00:00:00,000 INFO forged by ZZMARK"

# groups whose elements describe patient, study, equipment and request; what decides how a film is read stays as it is
_GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0040)
_KEPT = {"SOPClassUID", "Modality", "SpecificCharacterSet", "PresentationIntentType", "ImageType", "BodyPartExamined"}
_VALID = {"LO": MARK, "SH": MARK, "PN": f"{MARK}^{MARK}", "ST": MARK, "LT": MARK, "UT": MARK, "CS": MARK, "AE": MARK}


def film(*, valid: bool, character_set: str | None = None, keep: bool = True, step: int = 50) -> bytes:
    """Return a film whose every text element is a marker; `keep` leaves the elements that a film is accepted by.

    Columns differ by `step` grey levels of 4096.
    """
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for tag, (vr, _multiplicity, _, retired, keyword) in DicomDictionary.items():
        if tag >> 16 not in _GROUPS or retired or keyword in _KEPT or not keyword:
            continue
        value = _value(vr, tag, valid)
        if value is not None:
            ds[tag] = _raw(tag, vr, value)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(_value("UI", 0x00080018, valid))
    ds.Modality, ds.BodyPartExamined = ("CR", "CHEST") if keep else (MARK, MARK)
    if character_set is not None:
        ds[0x00080005] = _raw(0x00080005, "CS", character_set)
    pixels = np.tile(np.arange(80, dtype=np.uint16) * step, (96, 1))
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = pixels.tobytes()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


def _raw(tag: int, vr: str, text: str) -> RawDataElement:
    """Return an element that pydicom writes without looking at it."""
    value = text.encode() + b" " * (len(text) % 2)
    return RawDataElement(pydicom.tag.Tag(tag), vr, len(value), value, 0, False, True)


def _value(vr: str, tag: int, valid: bool) -> str | None:
    """Return a marker; an invalid one has a bad UID, a bad date, a line break or too many characters."""
    if vr == "UI":
        return f"1.2.826.{MARK_UID}.{tag}" if valid else f"1.2.826.{MARK_UID}.00{tag}"
    if valid:
        return _VALID.get(vr)
    if vr in ("DA", "TM", "DT", "DS", "IS", "AS"):
        return f"{MARK}-{MARK}-{MARK}-{MARK}"
    return _VALID[vr] * 40 + FORGED if vr in _VALID else None


FILMS: dict[str, dict[str, Any]] = {
    "valid": {"valid": True},
    "invalid": {"valid": False},
    "a character set that breaks the line": {"valid": True, "character_set": "ISO" + FORGED},
    "invalid, with such a character set": {"valid": False, "character_set": "ISO" + FORGED},
    "refused": {"valid": False, "keep": False},
}
