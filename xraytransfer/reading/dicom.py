"""A DICOM object becomes a radiograph: which attributes describe the picture, and which objects are refused.

References
----------
DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.5.1.1.2 (padding).
"""

from __future__ import annotations

import numpy as np

from xraytransfer.errors import RadiographError
from xraytransfer.reading.decode import decode
from xraytransfer.reading.elements import Elements
from xraytransfer.reading.intensity import grey_levels
from xraytransfer.reading.pixel_format import PixelFormat, Words, check_size
from xraytransfer.reading.projection import check_projection, check_view
from xraytransfer.reading.radiograph import Radiograph
from xraytransfer.reading.transforms import LookupTable, Padding, Rescale, Window

__all__ = ["read_film"]

_UNKNOWN_SYNTAX = "1.2.840.10008.1.2.1"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def read_film(
    header: Elements, notes: list[str], *, source: str, intensity: str, any_modality: bool, max_pixels: int
) -> Radiograph:
    """Return the radiograph that a DICOM object holds.

    Parameters
    ----------
    header : Elements
        The elements that `elements.parse_file` or `elements.from_dataset` found.
    notes : list of str
        Oddities found so far.
    source : str
        The name that results use for the object.
    intensity : str
        One of `intensity.INTENSITIES`.
    any_modality : bool
        Read what is no chest radiograph by SOP class, Modality or body part, too.
    max_pixels : int
        Limit on rows times columns.

    Raises
    ------
    RadiographError
        With the reason; see `errors.REASONS`.
    """
    notes = [*notes, *([] if any_modality else check_projection(header))]
    view, view_notes = check_view(header)
    invert = _photometric(header) == "MONOCHROME1"
    notes += [*view_notes, *_presentation_notes(header, invert), *_check_frames(header)]
    fmt, format_notes = _pixel_format(header, max_pixels)
    syntax = header.text("TransferSyntaxUID") or _UNKNOWN_SYNTAX
    words, fmt, pixel_notes = _words(header, fmt, syntax)
    modality_lut, modality_notes = _modality_lut(header, fmt) if intensity != "chexpert" else (None, [])
    voi, voi_notes = _voi(header, fmt, modality_lut) if intensity == "voi" else (None, [])
    notes += [*format_notes, *pixel_notes, *modality_notes, *voi_notes]
    padding = _padding(header, fmt)
    grey = grey_levels(words, fmt, recipe=intensity, modality=modality_lut, voi=voi, invert=invert, padding=padding)
    if padding is not None and intensity != "chexpert":
        notes.append("padding pixels are black")
    window = grey.window
    if intensity == "voi" and voi is None and voi_notes:
        window = f"fallback: {voi_notes[-1]}; {window}"
    return Radiograph(
        pixels=grey.pixels,
        source=source,
        format="dicom",
        intensity=intensity,
        inverted=invert,
        window=window,
        bits_stored=fmt.bits_stored,
        notes=tuple(notes),
        view_position=view,
        modality=_printable(header.text("Modality")),
        photometric_interpretation=_photometric(header),
        transfer_syntax=syntax,
    )


def _words(header: Elements, fmt: PixelFormat, syntax: str) -> tuple[Words, PixelFormat, list[str]]:
    pixels = header.get("PixelData")
    if pixels is None:
        floats = [keyword for keyword in ("FloatPixelData", "DoubleFloatPixelData") if keyword in header]
        raise RadiographError("no-pixels", f"{floats[0]} instead of pixels" if floats else "no pixel data")
    if not len(pixels.raw()):
        raise RadiographError("no-pixels", "the pixel data are empty")
    # A pydicom data set without file meta information knows its byte order all the same.
    stored = _BIG_ENDIAN if syntax == _UNKNOWN_SYNTAX and not pixels.little else syntax
    return decode(
        pixels.raw(),
        fmt,
        stored,
        encapsulated=not pixels.defined,
        swapped_bytes=pixels.vr == "OW" and not pixels.little,
    )


def _printable(text: str) -> str | None:
    """Return a code string of up to 16 characters; None for any other text, which might hold patient data."""
    return text if 0 < len(text) <= 16 and text.isascii() and text.isprintable() else None


def _photometric(header: Elements) -> str:
    text = header.text("PhotometricInterpretation").upper()
    if text in ("MONOCHROME1", "MONOCHROME2"):
        return text
    if text.startswith(("RGB", "YBR", "PALETTE", "HSV", "ARGB", "CMYK", "XYB")):
        raise RadiographError("colour", f"the photometric interpretation is {text[:16]}; a film is grey")
    raise RadiographError(
        "invalid-attribute", "Photometric Interpretation is absent or unknown; expected MONOCHROME1 or 2"
    )


def _presentation_notes(header: Elements, invert: bool) -> list[str]:
    """Return a note where the Presentation LUT Shape contradicts Photometric Interpretation, which alone decides."""
    shape = header.text("PresentationLUTShape").upper()
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != invert:
        return [f"Presentation LUT Shape is {shape}, which the photometric interpretation contradicts and overrules"]
    return []


def _check_frames(header: Elements) -> list[str]:
    samples = header.integer("SamplesPerPixel")
    if samples is not None and samples != 1:
        raise RadiographError("colour", f"{samples} samples per pixel; a film has one")
    notes = [] if samples == 1 else ["Samples per Pixel is absent: taken for 1"]
    frames = header.integer("NumberOfFrames")
    if frames is not None and frames > 1:
        raise RadiographError("multi-frame", f"{frames:,} frames; a film has one")
    if "NumberOfFrames" in header and frames != 1 and header.text("NumberOfFrames"):
        notes.append("Number of Frames is invalid: taken for 1")
    return notes


def _required(header: Elements, keyword: str) -> int:
    number = header.integer(keyword)
    if number is None:
        raise RadiographError("invalid-attribute", f"{keyword} is absent or no number")
    return number


def _pixel_format(header: Elements, max_pixels: int) -> tuple[PixelFormat, list[str]]:
    rows, columns = _required(header, "Rows"), _required(header, "Columns")
    if rows < 1 or columns < 1:
        raise RadiographError("invalid-attribute", f"the header says {columns} x {rows} pixels")
    check_size(rows, columns, max_pixels)
    allocated = _required(header, "BitsAllocated")
    stored = header.integer("BitsStored")
    high = header.integer("HighBit")
    representation = header.integer("PixelRepresentation")
    notes = []
    if stored is None:
        stored = allocated
        notes.append(f"Bits Stored is absent: taken for {stored}")
    if high is None:
        high = stored - 1
        notes.append(f"High Bit is absent: taken for {high}")
    if representation is None:
        notes.append("Pixel Representation is absent: taken for unsigned")
    if allocated not in (8, 16, 32) or not 2 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise RadiographError(
            "invalid-attribute",
            f"{allocated} bits allocated, {stored} stored, high bit {high}; expected 8, 16 or 32, and what fits",
        )
    if representation not in (0, 1, None):
        raise RadiographError("invalid-attribute", f"Pixel Representation is {representation}; expected 0 or 1")
    if high != stored - 1:
        notes.append(f"High Bit is {high} with {stored} bits stored: samples were shifted down")
    return PixelFormat(rows, columns, allocated, stored, high, representation == 1), notes


def _padding(header: Elements, fmt: PixelFormat) -> Padding | None:
    value = header.integer("PixelPaddingValue")
    if value is None:
        return None
    limit = header.integer("PixelPaddingRangeLimit")
    ends = [_as_sample(number, fmt) for number in (value, value if limit is None else limit)]
    return Padding(low=min(ends), high=max(ends), word=value & ((1 << fmt.bits_allocated) - 1))


def _as_sample(number: int, fmt: PixelFormat) -> int:
    """Return a value with the sign of the samples: writers confuse US and SS where the representation is implicit."""
    if fmt.signed and number >= 1 << (fmt.bits_allocated - 1):
        return number - (1 << fmt.bits_allocated)
    if not fmt.signed and number < 0:
        return number + (1 << fmt.bits_allocated)
    return number


def _modality_lut(header: Elements, fmt: PixelFormat) -> tuple[Rescale | LookupTable | None, list[str]]:
    if "ModalityLUTSequence" in header:
        for item in header.sequence("ModalityLUTSequence"):
            table = _lookup_table(item, signed_input=fmt.signed)
            if table is not None:
                return table, []
        return None, ["the Modality LUT is unusable and was left out"]
    numbers = {}
    for keyword, neutral in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        number = header.decimal(keyword)
        if number is None and header.text(keyword):
            raise RadiographError("invalid-attribute", f"{keyword} is no number")
        numbers[keyword] = neutral if number is None else float(number)
    slope, intercept = numbers["RescaleSlope"], numbers["RescaleIntercept"]
    if slope == 0 or not 1e-9 < abs(slope) < 1e9 or abs(intercept) > 1e12:
        raise RadiographError("invalid-attribute", f"RescaleSlope is {slope:g}, RescaleIntercept {intercept:g}")
    return (None if (slope, intercept) == (1, 0) else Rescale(slope, intercept)), []


def _voi(
    header: Elements, fmt: PixelFormat, modality: Rescale | LookupTable | None
) -> tuple[Window | LookupTable | None, list[str]]:
    """Return the VOI LUT, else the first window, and notes; without either, the last note gives the reason."""
    notes: list[str] = []
    if "VOILUTSequence" in header:
        # The input is what the modality LUT gives: a table's entries are never negative.
        signed = fmt.signed and not isinstance(modality, LookupTable)
        if isinstance(modality, Rescale):
            signed = signed or modality.intercept < 0
        for item in header.sequence("VOILUTSequence"):
            table = _lookup_table(item, signed_input=signed)
            if table is not None:
                return table, notes
        notes.append("the VOI LUT is unusable")
    if not (header.text("WindowCenter") or header.text("WindowWidth")):
        return None, notes
    center, width = header.decimal("WindowCenter"), header.decimal("WindowWidth")
    function = header.text("VOILUTFunction").upper() or "LINEAR"
    if function not in _FUNCTIONS:
        notes.append("the VOI LUT Function is unknown: taken for LINEAR")
        function = "LINEAR"
    if center is None or width is None or abs(center) > 1e12 or width > 1e12:
        return None, [*notes, "the window is no pair of numbers"]
    if width < 1 if function == "LINEAR" else width <= 0:
        return None, [*notes, f"the window is {width:g} wide"]
    return Window(float(center), float(width), function), notes


def _lookup_table(item: Elements, *, signed_input: bool) -> LookupTable | None:
    """Return a LUT; None if its descriptor and data make no sense."""
    descriptor = item.get("LUTDescriptor")
    data = item.get("LUTData")
    numbers = [number for number in descriptor.numbers() if number is not None] if descriptor else []
    if len(numbers) != 3 or data is None:
        return None
    # 0 stands for 65536; the first value mapped is signed where the input is (PS3.3 C.11.1.1).
    count, first, bits = int(numbers[0]) & 0xFFFF or 0x10000, int(numbers[1]), int(numbers[2])
    first = first - 0x10000 if signed_input and first >= 0x8000 else first
    if isinstance(data.value, memoryview):
        size = 1 if len(data.value) in (count, count + count % 2) else 2
        order = "<" if data.little else ">"
        entries = np.frombuffer(data.value[: len(data.value) // size * size], f"{order}u{size}")[:count]
    else:
        values = [number for number in data.numbers() if number is not None]
        entries = np.array(values, np.int64)[:count]
    if not 1 <= bits <= 16 or len(entries) != count or entries.min() == entries.max():
        return None
    # Where the descriptor declares fewer bits than the entries use, it would clip them: the entries decide.
    bits = max(bits, int(entries.max()).bit_length())
    return LookupTable(first, entries.astype(np.uint16), bits)
