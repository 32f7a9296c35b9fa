"""A DICOM file's bytes become elements: preamble, file meta information, data set.

References
----------
DICOM PS3.10 section 7 (file format), PS3.5 annex A (transfer syntaxes).
"""

from __future__ import annotations

import zlib

from xraytransfer.errors import RadiographError
from xraytransfer.reading.elements import Elements, is_explicit, walk

__all__ = ["parse_file"]

_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_IMPLICIT = "1.2.840.10008.1.2"


def parse_file(data: memoryview, *, max_bytes: int) -> tuple[Elements, list[str]]:
    """Return the elements of a DICOM file up to its pixels, and notes on oddities.

    Parameters
    ----------
    data : memoryview
        The whole file. With or without the preamble of 128 bytes and ``DICM``.
    max_bytes : int
        A deflated data set is inflated to this size at most.

    Raises
    ------
    RadiographError
        corrupt, or too-large.
    """
    notes: list[str] = []
    if data[128:132].tobytes() == b"DICM":
        start = 132
    else:
        start = 0
        notes.append("no preamble")
    elements = Elements()
    start = walk(data, start, elements, implicit=False, little=True, while_group=0x0002)
    syntax = elements.text("TransferSyntaxUID")
    if not syntax:
        notes.append("no transfer syntax in the header: taken for little endian")
    if syntax == _DEFLATED:
        data, start = memoryview(_inflate(data[start:], max_bytes)), 0
    little = syntax != _BIG_ENDIAN
    implicit = not is_explicit(data[start + 4 : start + 6].tobytes())
    if syntax and len(data) > start and implicit != (syntax == _IMPLICIT):
        notes.append(f"the value representation is {'implicit' if implicit else 'explicit'}, not as the header says")
    walk(data, start, elements, implicit=implicit, little=little)
    if not elements:
        raise RadiographError("corrupt", "a DICOM header without any element that a picture needs")
    return elements, notes


def _inflate(data: memoryview, max_bytes: int) -> bytes:
    """Inflate a raw deflate stream (PS3.5 annex A.5), to a limit."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data, max_bytes)
    except zlib.error:
        raise RadiographError("corrupt", "the header says that the data set is deflated, but it is not") from None
    if inflater.unconsumed_tail:
        raise RadiographError("too-large", f"the deflated data set holds more than {max_bytes:,} bytes")
    return inflated
