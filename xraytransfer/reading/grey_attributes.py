"""The attributes that say which grey level a sample is: modality LUT, VOI LUTs and windows, padding.

References
----------
DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.5.1.1.2 (padding).
"""

from __future__ import annotations

import numpy as np

from xraytransfer.errors import RadiographError
from xraytransfer.reading.elements import Elements
from xraytransfer.reading.pixel_format import PixelFormat
from xraytransfer.reading.transforms import VOI_FUNCTIONS, LookupTable, Padding, Rescale, Window

__all__ = ["read_lookup_table", "read_modality_lut", "read_padding", "read_voi"]

# Entries that leave two bits or more unused reach a quarter of the declared white at most.
_CLEARLY_FEWER_BITS = 2
_MOST_OFFERS = 16


def read_padding(header: Elements, fmt: PixelFormat) -> Padding | None:
    """Return the padding that the header declares; None if it declares none."""
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


def read_modality_lut(header: Elements, fmt: PixelFormat) -> tuple[Rescale | LookupTable | None, list[str]]:
    """Return the modality LUT or rescale, None where neither changes a value, and notes.

    Raises
    ------
    RadiographError
        invalid-attribute: slope or intercept is no usable number.
    """
    for item in header.sequence("ModalityLUTSequence"):
        table, _ = read_lookup_table(item, signed_input=fmt.signed)  # the depth of its entries has no part in it
        if table is not None:
            return table, []
    notes = ["the Modality LUT is unusable and was left out"] if "ModalityLUTSequence" in header else []
    numbers = {}
    for keyword, neutral in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)):
        number = header.decimal(keyword)
        if number is None and header.text(keyword):
            raise RadiographError("invalid-attribute", f"{keyword} is no number")
        numbers[keyword] = neutral if number is None else float(number)
    slope, intercept = numbers["RescaleSlope"], numbers["RescaleIntercept"]
    if slope == 0 or not 1e-9 < abs(slope) < 1e9 or abs(intercept) > 1e12:
        raise RadiographError("invalid-attribute", f"RescaleSlope is {slope:g}, RescaleIntercept {intercept:g}")
    return (None if (slope, intercept) == (1, 0) else Rescale(slope, intercept)), notes


def read_voi(
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
        for item in header.sequence("VOILUTSequence")[:_MOST_OFFERS]:
            table, found = read_lookup_table(item, signed_input=signed)
            offers += [] if table is None else [table]
            notes += found
        if not offers:
            notes.append("the VOI LUT is unusable")
    windows, found = _windows(header)
    # files offer a few; each that does not fit costs time
    return (offers + windows)[:_MOST_OFFERS], list(dict.fromkeys(notes + found))


def _windows(header: Elements) -> tuple[list[Window | LookupTable], list[str]]:
    """Return every window that is a pair of numbers, in the file's order."""
    if not (header.text("WindowCenter") or header.text("WindowWidth")):
        return [], []
    notes: list[str] = []
    function = header.text("VOILUTFunction").upper() or "LINEAR"
    if function not in VOI_FUNCTIONS:
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


def read_lookup_table(item: Elements, *, signed_input: bool) -> tuple[LookupTable | None, list[str]]:
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
    if (
        not 1 <= bits <= 16
        or not -0x10000 <= first <= 0xFFFF
        or len(entries) != count
        or entries.min() == entries.max()
    ):
        return None, []
    used = int(entries.max()).bit_length()
    # A descriptor that promises fewer bits than the data use would clip, one that promises clearly more would darken.
    if used > bits or used <= bits - _CLEARLY_FEWER_BITS:
        notes = [f"the LUT's entries use {used} bits, its descriptor says {bits}: read with {used}"]
        return LookupTable(first, entries.astype(np.uint16), used), notes
    return LookupTable(first, entries.astype(np.uint16), bits), []
