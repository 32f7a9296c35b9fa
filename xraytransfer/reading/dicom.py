"""A DICOM object to grey levels: what its header says of the picture, what is refused and why.

References
----------
DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.5.1.1.2 (padding).
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from xraytransfer.errors import RadiographError
from xraytransfer.reading.colour import grey_of_components
from xraytransfer.reading.decode import PixelData, decode
from xraytransfer.reading.elements import Elements
from xraytransfer.reading.grey_attributes import read_lookup_table, read_modality_lut, read_padding, read_voi
from xraytransfer.reading.grey_rule import all_words, look_up
from xraytransfer.reading.intensity import Grey, grey_levels
from xraytransfer.reading.options import ReadingOptions
from xraytransfer.reading.patient import patient_notes
from xraytransfer.reading.pixel_format import PixelFormat, Words, check_size
from xraytransfer.reading.projection import check_projection, check_view
from xraytransfer.reading.radiograph import Radiograph
from xraytransfer.reading.reduced import spread_padding

__all__ = ["read_film"]

_UNKNOWN_SYNTAX = "1.2.840.10008.1.2.1"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


def read_film(header: Elements, notes: list[str], options: ReadingOptions) -> Radiograph:
    """Return the radiograph that a DICOM object holds.

    Parameters
    ----------
    header : Elements
        The elements that `elements.parse_file` or `elements.from_dataset` found.
    notes : list of str
        Oddities found so far.
    options : ReadingOptions
        `any_modality` reads what is no chest radiograph by SOP class, Modality or body part, too.

    Raises
    ------
    RadiographError
        With the reason; see `errors.REASONS`.
    """
    collected = [*notes, *patient_notes(header)]
    try:
        if not options.any_modality:
            collected += check_projection(header)
        return _read(header, collected, options)
    except RadiographError as error:
        error.radiograph = {**_header_facts(header), "intensity": options.intensity, "notes": collected}
        raise


def _read(header: Elements, notes: list[str], options: ReadingOptions) -> Radiograph:
    """Read the pixels; `notes` collects what was found on the way, also where the film is refused."""
    view, found = check_view(header)
    notes += found
    photometric = _photometric(header)
    invert = photometric == "MONOCHROME1"
    notes += _presentation_notes(header, invert)
    samples, found = _check_frames(header, photometric)
    notes += found
    stored, found = _pixel_format(header, options.max_pixels)
    notes += found
    words, fmt, found = _words(header, stored, samples, options)
    notes += found
    if photometric == "PALETTE COLOR":
        words, fmt, found = _through_palette(header, words, fmt)
        notes += found
    reduction = round(stored.rows / fmt.rows)
    grey = _grey(header, words, fmt, notes, recipe=options.intensity, invert=invert, reduced=reduction > 1)
    return Radiograph(
        pixels=grey.pixels,
        source=options.source,
        format="dicom",
        intensity=options.intensity,
        inverted=invert,
        window=grey.window,
        bits_stored=fmt.bits_stored,
        notes=tuple(notes),
        view_position=view,
        modality=_printable(header.text("Modality")),
        photometric_interpretation=photometric,
        transfer_syntax=header.text("TransferSyntaxUID") or _UNKNOWN_SYNTAX,
        reduction=reduction,
    )


def _grey(
    header: Elements, words: Words, fmt: PixelFormat, notes: list[str], *, recipe: str, invert: bool, reduced: bool
) -> Grey:
    """Return grey levels by what the header says of windows, LUTs and padding; add to `notes`."""
    modality, found = read_modality_lut(header, fmt) if recipe != "chexpert" else (None, [])
    notes += found
    voi, unusable = read_voi(header, fmt, modality) if recipe == "voi" else ([], [])
    notes += unusable
    padding = read_padding(header, fmt)
    if padding is not None and reduced:
        words = spread_padding(words, fmt, padding)
    grey = grey_levels(words, fmt, recipe=recipe, modality=modality, voi=voi, invert=invert, padding=padding)
    notes += grey.notes
    if padding is not None and recipe != "chexpert":
        notes.append("padding pixels are black")
    if unusable and not voi:
        return replace(grey, window=f"fallback: {unusable[-1]}; {grey.window}")
    return grey


def _header_facts(header: Elements) -> dict[str, object]:
    """Return what a record says of a film that is refused: the header's own words, as far as they may be printed."""
    uid = header.text("TransferSyntaxUID")
    return {
        "format": "dicom",
        "rows": header.integer("Rows"),
        "columns": header.integer("Columns"),
        "frames": header.integer("NumberOfFrames"),
        "view_position": _printable(header.text("ViewPosition")),
        "modality": _printable(header.text("Modality")),
        "photometric_interpretation": _printable(header.text("PhotometricInterpretation")),
        "bits_stored": header.integer("BitsStored"),
        "transfer_syntax": uid if re.fullmatch(r"[0-9.]{1,64}", uid) else None,
    }


def _words(
    header: Elements, fmt: PixelFormat, samples: int, options: ReadingOptions
) -> tuple[Words, PixelFormat, list[str]]:
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
        side=options.reduced_to,
        threads=options.threads,
    )
    return decode(form, fmt)


def _through_palette(header: Elements, words: Words, fmt: PixelFormat) -> tuple[Words, PixelFormat, list[str]]:
    """Return the grey picture that a palette makes of the words (PS3.3 C.7.9)."""
    if words.itemsize > 2:
        raise RadiographError("invalid-attribute", "a PALETTE COLOR picture of more than 16 bits")
    channels = np.empty((fmt.rows, fmt.columns, 3), np.uint8)
    for number, colour in enumerate(("Red", "Green", "Blue")):
        parts = {
            "LUTDescriptor": header.get(f"{colour}PaletteColorLookupTableDescriptor"),
            "LUTData": header.get(f"{colour}PaletteColorLookupTableData"),
        }
        item = Elements({name: element for name, element in parts.items() if element is not None})
        table, _ = read_lookup_table(item, signed_input=fmt.signed)
        if table is None:
            raise RadiographError("invalid-attribute", f"the {colour} palette of a PALETTE COLOR picture is unusable")
        # one entry for each possible word, so that large pictures need no large numbers
        entries = table(fmt.values(all_words(words))).astype(np.int64) >> max(table.bits - 8, 0)
        channels[..., number] = look_up(entries.astype(np.uint8), words)
    grey, notes = grey_of_components(channels, 8, may_be_ybr=False)
    return grey, PixelFormat(fmt.rows, fmt.columns, 8, 8, 7, False), ["palette", *notes]


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
