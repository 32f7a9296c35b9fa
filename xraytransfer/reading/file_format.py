"""Which format a file has, by its first bytes.

References
----------
DICOM PS3.10 section 7.1 (preamble); ISO/IEC 15948 5.2 (PNG); ITU-T T.81 annex B (JPEG).
"""

from __future__ import annotations

from xraytransfer.errors import RadiographError

__all__ = ["FIRST_BYTES", "sniff", "unsupported"]

FIRST_BYTES = 132
"""Bytes that tell the format of a file."""

# How files of other formats begin, at which byte, and what to do about them.
_OTHER_FORMATS = (
    (0, b"II*\0", "a TIFF picture; save it as PNG"),
    (0, b"MM\0*", "a TIFF picture; save it as PNG"),
    (0, b"PK\3\4", "a zip archive; unpack it"),
    (0, b"\x1f\x8b", "a gzip file; unpack it"),
    (0, b"\x93NUMPY", "a numpy file; give its array's picture as PNG"),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture; save it as PNG"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 codestream; save it as PNG"),
    (0, b"BM", "a BMP picture; save it as PNG"),
    (0, b"GIF8", "a GIF picture; save it as PNG"),
    (8, b"WEBP", "a WebP picture; save it as PNG"),
    (0, b"%PDF", "a PDF document; export the film from it as PNG"),
    (0, b"\x5c\x01\0\0", "a NIfTI volume; a chest radiograph was expected"),
)


def sniff(data: bytes | memoryview) -> str | None:
    """Return the format by the first 132 bytes, ``dicom``, ``png`` or ``jpeg``; None if it is none that is read."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if data[128:132] == b"DICM":
        return "dicom"
    # Without a preamble: the first element of file meta information, or of group 8.
    if data[:2] in (b"\x02\x00", b"\x08\x00") and len(data) > 8 and data[3] == 0 and data[2] <= 0x18:
        return "dicom"
    return None


def unsupported(data: bytes | memoryview) -> RadiographError:
    """Return the refusal of a file that begins like none that is read; it names the format where that is known."""
    names = [name for at, first, name in _OTHER_FORMATS if data[at : at + len(first)] == first]
    found = next(iter(names), "its first bytes are those of none of them") if data else "an empty file"
    return RadiographError("unsupported-format", f"neither DICOM, PNG nor JPEG: {found}")
