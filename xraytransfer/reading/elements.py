"""DICOM data elements: where each value of a byte string begins and ends, without copying or decoding it.

Only the elements in `attributes` are kept; of a patient's data those are the age and the species, of which no more
than "under 18" and "animal" is ever told (`patient`). Names and identifiers are stepped over and never decoded.
The walk is a loop, not a recursion, counts its steps, touches no global state and gives no warnings, so
that it is safe in many threads and on hostile files. (pydicom's reader recurses, warns through the
process-wide `warnings` module and takes longer to import than a film takes to read: see docs/reading.md.)
The file is longer than others because the walk over elements, sequences and items is one piece.

References
----------
DICOM PS3.5 section 7 (data elements, sequences), PS3.10 section 7 (file meta information).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from xraytransfer.errors import RadiographError
from xraytransfer.reading.attributes import ATTRIBUTES, KEYWORDS, PIXELS

if TYPE_CHECKING:
    import pydicom

__all__ = ["Element", "Elements", "from_dataset", "is_explicit", "walk"]


# Value representations whose length field has 32 bits (PS3.5 table 7.1-1).
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d"}

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

# Films hold some hundred elements, nested a few deep. Larger numbers are an attack or a damaged file.
_MAX_ELEMENTS = 500_000
_MAX_DEPTH = 64
# Text longer than this is not decoded: the values that we read are codes of 16 and UIDs of 64 characters.
_MAX_TEXT = 1024
# More numbers than any attribute that is read has, but for the data of look-up tables, which are read as bytes.
_MAX_NUMBERS = 65_536
# Sequences that are read have a few items.
_MAX_ITEMS = 100


@dataclass(frozen=True)
class Element:
    """One data element's value, not yet decoded.

    Attributes
    ----------
    vr : str
        Value representation, two letters.
    value : memoryview or object
        The bytes of the file, or the Python value of a pydicom element that was decoded before.
    little : bool
        Byte order of `value`.
    implicit : bool
        Whether elements inside `value` (a sequence) are written without a value representation.
    defined : bool
        False for undefined length: a sequence's items, or encapsulated pixels, up to their delimiter.
    delimited : bool
        Whether a value of undefined length should end with its delimiter; pydicom removes it.
    """

    vr: str
    value: Any
    little: bool = True
    implicit: bool = False
    defined: bool = True
    delimited: bool = True

    def raw(self) -> memoryview:
        """Return the value's bytes; empty if there are none."""
        if isinstance(self.value, memoryview):
            return self.value
        return memoryview(self.value if isinstance(self.value, bytes | bytearray) else b"")

    def texts(self) -> list[str]:
        """Return the values as text without padding; bytes beyond ASCII become U+FFFD."""
        if not isinstance(self.value, memoryview):
            return [str(value).strip() for value in _listed(self.value)]
        if self.vr in _BINARY:
            return [str(number) for number in self.numbers()]
        text = bytes(self.value[:_MAX_TEXT]).decode("ascii", "replace")
        return [part.strip(" \0\r\n\t") for part in text.split("\\")]

    def numbers(self) -> list[float | int | None]:
        """Return the values as numbers, None for each that is no finite number.

        A decimal comma is read as a decimal point: a backslash separates values, so it can mean nothing else.
        """
        if isinstance(self.value, memoryview) and self.vr in _BINARY:
            code = _BINARY[self.vr]
            count = min(len(self.value) // struct.calcsize(code), _MAX_NUMBERS)
            order = "<" if self.little else ">"
            numbers = struct.unpack_from(f"{order}{count}{code}", self.value)
            return [number if abs(number) < float("inf") else None for number in numbers]
        if isinstance(self.value, memoryview | str):
            return [_number(text) for text in self.texts()]
        return [_number(str(value)) for value in _listed(self.value)]

    def items(self) -> list[Elements]:
        """Return the items of a sequence; none if the value is no sequence."""
        if isinstance(self.value, memoryview):
            return list(itertools.islice(_each_item(self), _MAX_ITEMS))
        if not isinstance(self.value, str | bytes) and hasattr(self.value, "__iter__"):
            return [from_dataset(item) for item in self.value if hasattr(item, "get_item")]
        return []


class Elements(dict[str, Element]):
    """Data elements by keyword, such as ``Rows``."""

    def integer(self, keyword: str) -> int | None:
        """Return the first value as an integer; None if it is absent, empty or no whole number."""
        number = self.decimal(keyword)
        return int(number) if number is not None and abs(number) <= 0xFFFFFFFF and number == int(number) else None

    def decimal(self, keyword: str) -> float | int | None:
        """Return the first value as a finite number; None if it is absent, empty or no number."""
        numbers = self.decimals(keyword)
        return numbers[0] if numbers else None

    def decimals(self, keyword: str) -> list[float | int | None]:
        """Return all values as finite numbers, None for each that is none; an empty list if the element is absent."""
        element = self.get(keyword)
        return element.numbers() if element is not None else []

    def texts(self, keyword: str) -> list[str]:
        """Return all values as text without padding; an empty list if the element is absent."""
        element = self.get(keyword)
        return element.texts() if element is not None else []

    def text(self, keyword: str) -> str:
        """Return the first value as text; empty if it is absent."""
        return next(iter(self.texts(keyword)), "")

    def sequence(self, keyword: str) -> list[Elements]:
        """Return the items of a sequence; an empty list if it is absent."""
        element = self.get(keyword)
        return element.items() if element is not None else []


def from_dataset(dataset: pydicom.Dataset) -> Elements:
    """Return the elements of a pydicom data set, without decoding what pydicom has not yet decoded."""
    elements = Elements()
    little = dataset.original_encoding[1] is not False
    parts = [dataset, *([dataset.file_meta] if getattr(dataset, "file_meta", None) is not None else [])]
    for part in parts:
        for keyword, (tag, vr) in ATTRIBUTES.items():
            if keyword in elements or tag not in part:
                continue
            stored = part.get_item(tag)
            value = _whole(stored.value) if hasattr(stored.value, "read") else stored.value
            elements[keyword] = Element(
                vr=vr if stored.VR in (None, "UN") else str(stored.VR),
                value=memoryview(value or b"") if value is None or isinstance(value, bytes | bytearray) else value,
                little=getattr(stored, "is_little_endian", little),
                implicit=bool(getattr(stored, "is_implicit_VR", False)),
                defined=not getattr(stored, "is_undefined_length", False)
                and getattr(stored, "length", 0) != _UNDEFINED,
                delimited=False,
            )
    return elements


def _whole(buffer: BinaryIO) -> bytes:
    """Return what a buffered value holds from where it stands, and leave it standing there for its owner."""
    place = buffer.tell()
    value = buffer.read()
    buffer.seek(place)
    return value


def is_explicit(vr: bytes) -> bool:
    """Return whether two bytes after a tag are a value representation: two capitals."""
    return vr.isalpha() and vr.isupper()


def _listed(value: Any) -> Sequence[Any]:
    if value is None or value == "":
        return []
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]


def _number(text: str) -> float | int | None:
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _header(data: memoryview, at: int, implicit: bool, little: bool) -> tuple[int, bytes, int, int]:
    """Return tag, value representation (empty if none is written), length and start of the value."""
    order = "<" if little else ">"
    try:
        group, number = struct.unpack_from(f"{order}HH", data, at)
        tag = group << 16 | number
        vr = data[at + 4 : at + 6].tobytes()
        # Items have no representation; some writers fall back to implicit inside an explicit file.
        if implicit or group == 0xFFFE or not is_explicit(vr):
            (length,) = struct.unpack_from(f"{order}I", data, at + 4)
            return tag, b"", length, at + 8
        if vr in _LONG:
            (length,) = struct.unpack_from(f"{order}I", data, at + 8)
            return tag, vr, length, at + 12
        (length,) = struct.unpack_from(f"{order}H", data, at + 6)
        return tag, vr, length, at + 8
    except struct.error:
        raise RadiographError("corrupt", "the file ends inside its header") from None


def walk(
    data: memoryview, at: int, elements: Elements, *, implicit: bool, little: bool, while_group: int | None = None
) -> int:
    """Put the known elements from `at` on into `elements`, up to the pixels; return where the walk ended.

    Parameters
    ----------
    data : memoryview
    at : int
        Where the first element begins.
    elements : Elements
        An element that it holds already is kept: the first one counts.
    implicit, little : bool
        Encoding of the elements.
    while_group : int, optional
        Stop before the first element of another group.

    Raises
    ------
    RadiographError
        corrupt.
    """
    for _ in range(_MAX_ELEMENTS):
        if at + 8 > len(data):
            return len(data)
        tag, vr, length, start = _header(data, at, implicit, little)
        if while_group is not None and tag >> 16 != while_group:
            return at
        keyword = KEYWORDS.get(tag)
        if length == _UNDEFINED:
            nested_implicit = implicit or vr in (b"", b"UN")
            end = start if tag in PIXELS else _end_of_items(data, start, nested_implicit, little)
            at = len(data) if tag in PIXELS else end + 8
            end = len(data) if tag in PIXELS else end
        else:
            nested_implicit = implicit or vr == b"UN"
            at = end = start + length
        if end > len(data) and tag not in PIXELS:
            raise RadiographError(
                "corrupt", f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) runs past the end of the file"
            )
        if keyword is not None and keyword not in elements:
            name = vr.decode("ascii") if vr not in (b"", b"UN") else ATTRIBUTES[keyword][1]
            elements[keyword] = Element(name, data[start:end], little, nested_implicit, length != _UNDEFINED)
        if tag in PIXELS:
            return len(data)
    raise RadiographError("corrupt", f"a header of more than {_MAX_ELEMENTS:,} elements")


def _end_of_items(data: memoryview, at: int, implicit: bool, little: bool, delimiter: int = _SEQUENCE_END) -> int:
    """Return where the delimiter of a sequence of undefined length, or of one of its items, begins."""
    # Each level is (its delimiter, whether it is implicit): a sequence of items, or an item of elements.
    levels = [(delimiter, implicit)]
    for _ in range(_MAX_ELEMENTS):
        ends_with, implicit = levels[-1]
        tag, vr, length, start = _header(data, at, implicit, little)
        if tag in (_SEQUENCE_END, _ITEM_END):
            if tag != ends_with:
                raise RadiographError("corrupt", "the delimiters of a sequence do not match")
            levels.pop()
            if not levels:
                return at
            at = start
        elif length == _UNDEFINED:
            is_item = tag == _ITEM
            levels.append((_ITEM_END if is_item else _SEQUENCE_END, implicit or (not is_item and vr in (b"", b"UN"))))
            at = start
        else:
            at = start + length
        if len(levels) > _MAX_DEPTH:
            raise RadiographError("corrupt", f"sequences nested more than {_MAX_DEPTH} deep")
    raise RadiographError("corrupt", f"a sequence of more than {_MAX_ELEMENTS:,} elements")


def _each_item(element: Element) -> Iterator[Elements]:
    data, at = element.raw(), 0
    while at + 8 <= len(data):
        tag, _, length, start = _header(data, at, True, element.little)
        if tag != _ITEM:
            return
        if length == _UNDEFINED:
            end = _end_of_items(data, start, element.implicit, element.little, _ITEM_END)
            at = end + 8
        else:
            at = end = min(start + length, len(data))
        elements = Elements()
        walk(data[start:end], 0, elements, implicit=element.implicit, little=element.little)
        yield elements
