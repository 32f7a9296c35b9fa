"""The attributes that a picture depends on, and those that tell a human adult; no other attribute of a file is read.

References
----------
DICOM PS3.6 section 6 (registry of data elements).
"""

from __future__ import annotations

__all__ = ["ATTRIBUTES", "KEYWORDS", "PIXELS"]

ATTRIBUTES: dict[str, tuple[int, str]] = {
    "MediaStorageSOPClassUID": (0x00020002, "UI"),
    "TransferSyntaxUID": (0x00020010, "UI"),
    "SOPClassUID": (0x00080016, "UI"),
    "StudyDate": (0x00080020, "DA"),
    "AcquisitionDate": (0x00080022, "DA"),
    "ContentDate": (0x00080023, "DA"),
    "AcquisitionDateTime": (0x0008002A, "DT"),
    "Modality": (0x00080060, "CS"),
    "CodeValue": (0x00080100, "SH"),
    "CodingSchemeDesignator": (0x00080102, "SH"),
    "CodeMeaning": (0x00080104, "LO"),
    "PresentationIntentType": (0x00080068, "CS"),
    "AnatomicRegionSequence": (0x00082218, "SQ"),
    "PatientBirthDate": (0x00100030, "DA"),
    "PatientAge": (0x00101010, "AS"),
    "PatientSpeciesDescription": (0x00102201, "LO"),
    "PatientSpeciesCodeSequence": (0x00102202, "SQ"),
    "BodyPartExamined": (0x00180015, "CS"),
    "ViewPosition": (0x00185101, "CS"),
    "PatientOrientation": (0x00200020, "CS"),
    "SamplesPerPixel": (0x00280002, "US"),
    "PhotometricInterpretation": (0x00280004, "CS"),
    "PlanarConfiguration": (0x00280006, "US"),
    "NumberOfFrames": (0x00280008, "IS"),
    "Rows": (0x00280010, "US"),
    "Columns": (0x00280011, "US"),
    "BitsAllocated": (0x00280100, "US"),
    "BitsStored": (0x00280101, "US"),
    "HighBit": (0x00280102, "US"),
    "PixelRepresentation": (0x00280103, "US"),
    "PixelPaddingValue": (0x00280120, "US"),
    "PixelPaddingRangeLimit": (0x00280121, "US"),
    "WindowCenter": (0x00281050, "DS"),
    "WindowWidth": (0x00281051, "DS"),
    "RescaleIntercept": (0x00281052, "DS"),
    "RescaleSlope": (0x00281053, "DS"),
    "VOILUTFunction": (0x00281056, "CS"),
    "RedPaletteColorLookupTableDescriptor": (0x00281101, "US"),
    "GreenPaletteColorLookupTableDescriptor": (0x00281102, "US"),
    "BluePaletteColorLookupTableDescriptor": (0x00281103, "US"),
    "RedPaletteColorLookupTableData": (0x00281201, "OW"),
    "GreenPaletteColorLookupTableData": (0x00281202, "OW"),
    "BluePaletteColorLookupTableData": (0x00281203, "OW"),
    "ModalityLUTSequence": (0x00283000, "SQ"),
    "LUTDescriptor": (0x00283002, "US"),
    "LUTData": (0x00283006, "OW"),
    "VOILUTSequence": (0x00283010, "SQ"),
    "ViewCodeSequence": (0x00540220, "SQ"),
    "PresentationLUTShape": (0x20500020, "CS"),
    "FloatPixelData": (0x7FE00008, "OF"),
    "DoubleFloatPixelData": (0x7FE00009, "OD"),
    "PixelData": (0x7FE00010, "OW"),
}
"""Keyword: (tag, value representation where the file does not write one)."""

KEYWORDS = {tag: keyword for keyword, (tag, _) in ATTRIBUTES.items()}
"""Tag: keyword."""

PIXELS = frozenset(ATTRIBUTES[name][0] for name in ("FloatPixelData", "DoubleFloatPixelData", "PixelData"))
"""Tags of the elements that can hold the picture; reading ends with them."""
