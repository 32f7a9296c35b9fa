"""A DICOM object to grey levels: what its header says of the picture, what is refused and why.

References
----------
DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.5.1.1.2 (padding).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xraytransfer.errors import RadiographError
from xraytransfer.reading.colour import grey_of_components
from xraytransfer.reading.decode import PixelData, decode
from xraytransfer.reading.elements import Elements
from xraytransfer.reading.intensity import Grey, grey_levels
from xraytransfer.reading.pixel_format import PixelFormat, Words, check_size
from xraytransfer.reading.projection import check_projection, check_view
from xraytransfer.reading.reduced import spread_padding
from xraytransfer.reading.transforms import LookupTable, Padding, Rescale, Window

__all__ = ["Film", "read_film"]

_UNKNOWN_SYNTAX = "1.2.840.10008.1.2.1"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
# Entries that leave two bits or more unused reach a quarter of the declared white at most.
_CLEARLY_FEWER_BITS = 2
_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True, eq=False)
class Film:
    """A DICOM object read as a film.

    Attributes
    ----------
    grey : Grey
        The picture.
    inverted : bool
        Whether MONOCHROME1 was inverted.
    view_position, modality, photometric_interpretation, transfer_syntax : str or None
        As the header says; None where it says nothing.
    bits_stored : int
        Bits of a sample.
    reduction : int
        How many pixels of the file's picture stand side by side in one of `grey`: 1 for full resolution.
    notes : tuple of str
        Oddities of the header, and what was done about them.
    """

    grey: Grey
    inverted: bool
    view_position: str | None
    modality: str | None
    photometric_interpretation: str
    bits_stored: int
    transfer_syntax: str
    reduction: int
    notes: tuple[str, ...]


def read_film(
    header: Elements,
    notes: list[str],
    *,
    intensity: str,
    any_modality: bool,
    max_pixels: int,
    side: int | None = None,
) -> Film:
    """Return the film that a DICOM object holds.

    Parameters
    ----------
    header : Elements
        The elements that `elements.parse_file` or `elements.from_dataset` found.
    notes : list of str
        Oddities found so far.
    intensity : str
        One of `intensity.INTENSITIES`.
    any_modality : bool
        Read what is no chest radiograph by SOP class, Modality or body part, too.
    max_pixels : int
        Limit on rows times columns.
    side : int or None
        As `radiograph.read_radiograph` takes `reduced_to`.

    Raises
    ------
    RadiographError
        With the reason; see `errors.REASONS`.
    """
    notes = list(notes)
    if not any_modality:
        notes += check_projection(header)
    view, found = check_view(header)
    notes += found
    photometric = _photometric(header)
    invert = photometric == "MONOCHROME1"
    notes += _presentation_notes(header, invert)
    samples, found = _check_frames(header, photometric)
    notes += found
    fmt, found = _pixel_format(header, max_pixels)
    notes += found
    full_rows = fmt.rows
    words, fmt, found = _words(header, fmt, samples, side)
    reduction = round(full_rows / fmt.rows)
    notes += found
    if photometric == "PALETTE COLOR":
        words, fmt, found = _through_palette(header, words, fmt)
        notes += found
    modality_lut, found = _modality_lut(header, fmt) if intensity != "chexpert" else (None, [])
    notes += found
    voi, found = _voi(header, fmt, modality_lut) if intensity == "voi" else ([], [])
    notes += found
    padding = _padding(header, fmt)
    if padding is not None and reduction > 1:
        words = spread_padding(words, fmt, padding)
    grey = grey_levels(words, fmt, recipe=intensity, modality=modality_lut, voi=voi, invert=invert, padding=padding)
    if padding is not None and intensity != "chexpert":
        notes.append("padding pixels are black")
    notes += grey.notes
    window = grey.window
    if intensity == "voi" and not voi and found:
        window = f"fallback: {found[-1]}; {window}"
    return Film(
        grey=Grey(grey.pixels, window),
        inverted=invert,
        view_position=view,
        modality=_printable(header.text("Modality")),
        photometric_interpretation=photometric,
        bits_stored=fmt.bits_stored,
        transfer_syntax=header.text("TransferSyntaxUID") or _UNKNOWN_SYNTAX,
        reduction=reduction,
        notes=tuple(notes),
    )


def _words(header: Elements, fmt: PixelFormat, samples: int, side: int | None) -> tuple[Words, PixelFormat, list[str]]:
    pixels = header.get("PixelData")
    if pixels is None:
        floats = [keyword for keyword in ("FloatPixelData", "DoubleFloatPixelData") if keyword in header]
        raise RadiographError("no-pixels", f"{floats[0]} instead of pixels" if floats else "no pixel data")
    if not len(pixels.raw()):
        raise RadiographError("no-pixels", "the pixel data are empty")
    # A pydicom data set without file meta information knows its byte order all the same.
    syntax = header.text("TransferSyntaxUID") or ("" if pixels.little else _BIG_ENDIAN)
    form = PixelData(
        pixels.raw(),
        syntax,
        encapsulated=not pixels.defined,
        swapped_bytes=pixels.vr == "OW" and not pixels.little,
        delimited=pixels.delimited,
        samples=samples,
        planar=header.integer("PlanarConfiguration") == 1,
        subsampled=header.text("PhotometricInterpretation").upper() == "YBR_FULL_422",
        side=side,
    )
    return decode(form, fmt)


def _through_palette(header: Elements, words: Words, fmt: PixelFormat) -> tuple[Words, PixelFormat, list[str]]:
    """Return the grey picture that a palette makes of the words (PS3.3 C.7.9)."""
    channels, depths = [], []
    for colour in ("Red", "Green", "Blue"):
        parts = {
            "LUTDescriptor": header.get(f"{colour}PaletteColorLookupTableDescriptor"),
            "LUTData": header.get(f"{colour}PaletteColorLookupTableData"),
        }
        item = Elements({name: element for name, element in parts.items() if element is not None})
        table, _ = _lookup_table(item, signed_input=fmt.signed)
        if table is None:
            raise RadiographError("invalid-attribute", f"the {colour} palette of a PALETTE COLOR picture is unusable")
        channels.append(table(fmt.values(words)).astype(np.uint16))
        depths.append(table.bits)
    bits = max(depths)
    grey, notes = grey_of_components(np.stack(channels, axis=2), bits)
    return grey, PixelFormat(fmt.rows, fmt.columns, 16, bits, bits - 1, False), ["palette", *notes]


def _printable(text: str) -> str | None:
    """Return a code string of up to 16 characters; None for anything else, which might be anything."""
    return text if 0 < len(text) <= 16 and text.isascii() and text.isprintable() else None


def _photometric(header: Elements) -> str:
    text = header.text("PhotometricInterpretation").upper()
    if text in ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR") or text.startswith(("RGB", "YBR")):
        return text[:16]
    if text.startswith(("HSV", "ARGB", "CMYK", "XYB")):
        raise RadiographError("colour", f"the photometric interpretation is {text[:16]}; a film is grey")
    raise RadiographError(
        "invalid-attribute", "Photometric Interpretation is absent or unknown; expected MONOCHROME1 or 2"
    )


def _presentation_notes(header: Elements, invert: bool) -> list[str]:
    """Inversion is decided by Photometric Interpretation alone; a shape that disagrees is worth a note."""
    shape = header.text("PresentationLUTShape").upper()
    if shape in ("IDENTITY", "INVERSE") and (shape == "INVERSE") != invert:
        return [f"Presentation LUT Shape is {shape}, which the photometric interpretation contradicts and overrules"]
    return []


def _check_frames(header: Elements, photometric: str) -> tuple[int, list[str]]:
    """Return the samples per pixel, 1 or 3, and notes; refuse more than one frame."""
    samples = header.integer("SamplesPerPixel")
    if samples not in (1, 3, None):
        raise RadiographError("colour", f"{samples} samples per pixel; a film has one")
    notes = [] if samples is not None else ["Samples per Pixel is absent: taken for 1"]
    if photometric.startswith(("RGB", "YBR")) and samples != 3:
        notes.append(f"the photometric interpretation is {photometric} with one sample per pixel: taken for grey")
    frames = header.integer("NumberOfFrames")
    if frames is not None and frames > 1:
        raise RadiographError("multi-frame", f"{frames:,} frames; a film has one")
    if "NumberOfFrames" in header and frames != 1 and header.text("NumberOfFrames"):
        notes.append("Number of Frames is invalid: taken for 1")
    return samples or 1, notes


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
    return PixelFormat(rows, columns, allocated, stored, high, representation == 1), notes


def _padding(header: Elements, fmt: PixelFormat) -> Padding | None:
    value = header.integer("PixelPaddingValue")
    if value is None:
        return None
    limit = header.integer("PixelPaddingRangeLimit")
    ends = [_as_sample(number, fmt) for number in (value, value if limit is None else limit)]
    return Padding(low=min(ends), high=max(ends), word=value & ((1 << fmt.bits_allocated) - 1))


def _as_sample(number: int, fmt: PixelFormat) -> int:
    """Undo a wrong sign: US and SS are mixed up where the representation is implicit."""
    if fmt.signed and number >= 1 << (fmt.bits_allocated - 1):
        return number - (1 << fmt.bits_allocated)
    if not fmt.signed and number < 0:
        return number + (1 << fmt.bits_allocated)
    return number


def _modality_lut(header: Elements, fmt: PixelFormat) -> tuple[Rescale | LookupTable | None, list[str]]:
    if "ModalityLUTSequence" in header:
        for item in header.sequence("ModalityLUTSequence"):
            table, _ = _lookup_table(item, signed_input=fmt.signed)  # the depth of its entries has no part in it
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
) -> tuple[list[Window | LookupTable], list[str]]:
    """Return the VOI LUTs and then the windows that the file offers; the last note says why there is none."""
    notes: list[str] = []
    offers: list[Window | LookupTable] = []
    if "VOILUTSequence" in header:
        # The input is what the modality LUT gives: a table's entries are never negative.
        signed = fmt.signed and not isinstance(modality, LookupTable)
        if isinstance(modality, Rescale):
            signed = signed or modality.intercept < 0
        for item in header.sequence("VOILUTSequence"):
            table, found = _lookup_table(item, signed_input=signed)
            offers += [] if table is None else [table]
            notes += found
        if not offers:
            notes.append("the VOI LUT is unusable")
    windows, found = _windows(header)
    return offers + windows, notes + found


def _windows(header: Elements) -> tuple[list[Window | LookupTable], list[str]]:
    """Return every window that is a pair of numbers, in the file's order."""
    if not (header.text("WindowCenter") or header.text("WindowWidth")):
        return [], []
    notes: list[str] = []
    function = header.text("VOILUTFunction").upper() or "LINEAR"
    if function not in _FUNCTIONS:
        notes.append("the VOI LUT Function is unknown: taken for LINEAR")
        function = "LINEAR"
    windows: list[Window | LookupTable] = []
    for center, width in zip(header.decimals("WindowCenter"), header.decimals("WindowWidth"), strict=False):
        if center is None or width is None or abs(center) > 1e12 or width > 1e12:
            notes.append("the window is no pair of numbers")
        elif width < 1 if function == "LINEAR" else width <= 0:
            notes.append(f"the window is {width:g} wide")
        else:
            windows.append(Window(float(center), float(width), function))
    if not windows and not notes:
        notes.append("the window is no pair of numbers")
    return windows, notes


def _lookup_table(item: Elements, *, signed_input: bool) -> tuple[LookupTable | None, list[str]]:
    """Return a LUT, and what was taken differently; no LUT if its descriptor and data make no sense."""
    descriptor = item.get("LUTDescriptor")
    data = item.get("LUTData")
    numbers = [number for number in descriptor.numbers() if number is not None] if descriptor else []
    if len(numbers) != 3 or data is None:
        return None, []
    # 0 stands for 65536; the first value mapped has the sign of the input (PS3.3 C.11.1.1), whatever its VR says.
    count, first, bits = int(numbers[0]) & 0xFFFF or 0x10000, int(numbers[1]), int(numbers[2])
    if signed_input and first >= 0x8000:
        first -= 0x10000
    elif not signed_input and first < 0:
        first += 0x10000
    if isinstance(data.value, memoryview):
        size = 1 if len(data.value) in (count, count + count % 2) else 2
        order = "<" if data.little else ">"
        entries = np.frombuffer(data.value[: len(data.value) // size * size], f"{order}u{size}")[:count]
    else:
        values = [number for number in data.numbers() if number is not None]
        entries = np.array(values, np.int64)[:count]
    if not 1 <= bits <= 16 or len(entries) != count or entries.min() == entries.max():
        return None, []
    used = int(entries.max()).bit_length()
    # A descriptor that promises fewer bits than the data use would clip, one that promises clearly more would darken.
    if used > bits or used <= bits - _CLEARLY_FEWER_BITS:
        notes = [f"the LUT's entries use {used} bits, its descriptor says {bits}: read with {used}"]
        return LookupTable(first, entries.astype(np.uint16), used), notes
    return LookupTable(first, entries.astype(np.uint16), bits), []
