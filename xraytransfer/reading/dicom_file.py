"""A DICOM file's bytes become elements: preamble, file meta information, data set.

References
----------
DICOM PS3.10 section 7 (file format), PS3.5 annex A (transfer syntaxes).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from xraytransfer.errors import RadiographError
from xraytransfer.reading.elements import Elements, is_explicit, walk

__all__ = ["DataSet", "find_data_set", "parse_file"]

_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_IMPLICIT = "1.2.840.10008.1.2"


@dataclass(frozen=True)
class DataSet:
    """A file's data set, not yet read: where it begins and how it is encoded.

    Attributes
    ----------
    data : memoryview
        The file, or the inflated data set.
    start : int
        Where the first element begins.
    implicit, little : bool
        Encoding of the elements.
    complete : bool
        False for a deflated data set that was not inflated to its end.
    meta : Elements
        The file meta information.
    notes : list of str
        Oddities found.
    """

    data: memoryview
    start: int
    implicit: bool
    little: bool
    complete: bool
    meta: Elements
    notes: list[str]


def find_data_set(data: memoryview, *, max_bytes: int) -> DataSet:
    """Return the data set of a DICOM file.

    Parameters
    ----------
    data : memoryview
        The file, or its beginning. With or without the preamble of 128 bytes and ``DICM``.
    max_bytes : int
        A deflated data set is inflated to this size at most.

    Raises
    ------
    RadiographError
        corrupt.
    """
    notes: list[str] = []
    if data[128:132].tobytes() == b"DICM":
        start = 132
    else:
        start = 0
        notes.append("no preamble")
    meta = Elements()
    start = walk(data, start, meta, implicit=False, little=True, while_group=0x0002)
    syntax = meta.text("TransferSyntaxUID")
    if not syntax:
        notes.append("no transfer syntax in the header: taken for little endian")
    complete = True
    if syntax == _DEFLATED:
        inflated, complete = _inflate(data[start:], max_bytes)
        data, start = memoryview(inflated), 0
    implicit = not is_explicit(data[start + 4 : start + 6].tobytes())
    if syntax and len(data) > start and implicit != (syntax == _IMPLICIT):
        notes.append(f"the value representation is {'implicit' if implicit else 'explicit'}, not as the header says")
    return DataSet(data, start, implicit, syntax != _BIG_ENDIAN, complete, meta, notes)


def parse_file(data: memoryview, *, max_bytes: int) -> tuple[Elements, list[str]]:
    """Return the elements of a DICOM file up to its pixels, and notes on oddities.

    Parameters
    ----------
    data : memoryview
        The whole file.
    max_bytes : int
        A deflated data set is inflated to this size at most.

    Raises
    ------
    RadiographError
        corrupt, or too-large.
    """
    found = find_data_set(data, max_bytes=max_bytes)
    if not found.complete:
        raise RadiographError("too-large", f"the deflated data set holds more than {max_bytes:,} bytes")
    elements = found.meta
    walk(found.data, found.start, elements, implicit=found.implicit, little=found.little)
    if not elements:
        raise RadiographError("corrupt", "a DICOM header without any element that a picture needs")
    return elements, found.notes


def _inflate(data: memoryview, max_bytes: int) -> tuple[bytes, bool]:
    """Inflate a raw deflate stream (PS3.5 annex A.5), to a limit; return whether that was all of it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, max_bytes)
    except zlib.error:
        raise RadiographError("corrupt", "the header says that the data set is deflated, but it is not") from None
    return inflated, not inflater.unconsumed_tail
