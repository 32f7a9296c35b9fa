"""Compressed frames: finding the one frame of a film, and reading the header of its codestream.

References
----------
DICOM PS3.5 annex A.4 (encapsulated pixel data) and G (run length); ITU-T T.81 (JPEG), T.87 (JPEG-LS),
T.800 and T.814 (JPEG 2000, high throughput).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from xraytransfer.errors import RadiographError

__all__ = [
    "StreamHeader",
    "begins_codestream",
    "frame",
    "is_encapsulated",
    "is_run_length",
    "read_header",
    "segments",
    "without_metadata",
]

_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_SOI = b"\xff\xd8"
_J2K = b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
# A progressive JPEG of eight bits needs about ten scans; thousands are a way to keep a decoder busy.
_MAX_SCANS = 100
_CUT = "the pixels end too early; fetch the file again"
_MAX_FRAGMENTS = 100_000
_MAX_BOXES = 1000
_RLE_HEADER = 64
"""Bytes of the header of a run-length frame: a count and fifteen offsets."""


@dataclass(frozen=True)
class StreamHeader:
    """The header of a codestream.

    Attributes
    ----------
    rows, columns, components : int
        Size of the picture.
    precision : int
        Bits per sample.
    signed : bool
        Whether samples are signed (JPEG 2000 only).
    process : str
        Kind of coding: ``baseline``, ``extended``, ``progressive``, ``lossless``, ``jpeg-ls``, ``jpeg-2000``.
    levels : int
        How often the picture can be halved in decoding (JPEG 2000 only).
    """

    rows: int
    columns: int
    components: int
    precision: int
    signed: bool
    process: str
    levels: int = 0


def frame(pixels: memoryview, *, delimited: bool = True) -> tuple[bytes, list[str]]:
    """Return the one frame of encapsulated pixel data, its fragments joined, and notes on oddities.

    A frame begins where a fragment begins with a codestream's first bytes or with a run-length header. The
    offset table, which some writers fill with an entry for each fragment, decides only where no fragment
    begins so.

    Parameters
    ----------
    pixels : memoryview
        The value of (7FE0,0010): items, the first of which is the offset table.
    delimited : bool
        Whether `pixels` should end with the sequence delimiter; pydicom removes it.

    Raises
    ------
    RadiographError
        corrupt, truncated-pixels, no-pixels or multi-frame.
    """
    fragments, notes = _fragments(pixels)
    if not delimited:
        notes = []
    if not fragments:
        raise RadiographError("corrupt", "compressed pixel data without the items that hold them")
    offsets, *parts = fragments
    parts = [part for part in parts if part]
    if not parts:
        raise RadiographError("no-pixels", "the compressed pixel data are empty")
    run_length = is_run_length(parts[0])
    begins = is_run_length if run_length else begins_codestream
    frames = sum(begins(part) for part in parts) or max(len(offsets) // 4, 1)
    if frames > 1:
        raise RadiographError("multi-frame", f"{frames} compressed frames; a film has one")
    if len(offsets) // 4 > 1:
        notes.append(f"the offset table has {len(offsets) // 4} entries for one frame")
    if run_length and len(parts) > 1:
        notes.append(f"one run-length frame in {len(parts)} fragments")
    stream = b"".join(parts)
    # Padding after the end marker is no part of a codestream; in a run-length frame zeros may be data.
    if run_length:
        return stream, notes
    # Decoders get the bare codestream: what its header says is then what they decode.
    start = _start_in_jp2(stream) if stream[:12] == _JP2 else 0
    return stream[start:].rstrip(b"\0"), notes


def is_run_length(part: bytes | memoryview) -> bool:
    """Return whether bytes begin with the header of a run-length frame (PS3.5 annex G.5)."""
    if len(part) < _RLE_HEADER:
        return False
    count, *offsets = struct.unpack_from("<16I", part)
    used, unused = offsets[:count], offsets[count:]
    return 1 <= count <= 15 and used[0] == _RLE_HEADER and used == sorted(used) and not any(unused)


def _start_in_jp2(stream: bytes) -> int:
    """Return where the codestream begins in a JP2 file: in the box ``jp2c`` (T.800 annex I.4)."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > len(stream):
            break
        length, kind = struct.unpack_from(">I4s", stream, at)
        start = at + (16 if length == 1 else 8)
        if kind == b"jp2c":
            return start
        if length == 1 and start <= len(stream):
            (length,) = struct.unpack_from(">Q", stream, at + 8)
        if length < 8:
            break
        at += length
    raise RadiographError("decode-failed", "a JP2 file without a codestream")


def begins_codestream(part: bytes | memoryview) -> bool:
    """Return whether bytes begin like a JPEG, JPEG-LS or JPEG 2000 codestream."""
    return part[:2] == _SOI or part[:4] == _J2K or part[:12] == _JP2


def is_encapsulated(pixels: memoryview) -> bool:
    """Return whether pixel data begin with an item, as compressed ones do (PS3.5 annex A.4)."""
    return bytes(pixels[:4]) == _ITEM


def _fragments(pixels: memoryview) -> tuple[list[memoryview], list[str]]:
    fragments: list[memoryview] = []
    at = 0
    for _ in range(_MAX_FRAGMENTS):
        tag = bytes(pixels[at : at + 4])
        if len(pixels) < at + 8 or tag == _SEQUENCE_END:
            return fragments, [] if tag == _SEQUENCE_END else ["the delimiter after the pixels is missing"]
        if tag != _ITEM:
            raise RadiographError("corrupt", "the compressed pixel data are not divided into items")
        (length,) = struct.unpack_from("<I", pixels, at + 4)
        if at + 8 + length > len(pixels):
            raise RadiographError(
                "truncated-pixels",
                f"{_CUT}: a fragment of {length:,} bytes, of which the file holds {len(pixels) - at - 8:,}",
            )
        fragments.append(pixels[at + 8 : at + 8 + length])
        at += 8 + length
    raise RadiographError("corrupt", f"pixel data in more than {_MAX_FRAGMENTS:,} fragments")


def read_header(stream: bytes, *, whole: bool = True) -> StreamHeader:
    """Return the header of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Parameters
    ----------
    stream : bytes
        The codestream.
    whole : bool
        Refuse a codestream without its end marker: decoders silently fill what is missing with grey. False for
        files, which may hold more data after it.

    Raises
    ------
    RadiographError
        decode-failed if this is none of them; truncated-pixels.
    """
    try:
        if stream[:2] == _SOI:
            header = _jpeg_header(stream)
        elif stream[:4] == _J2K:
            header = _j2k_header(stream)
        else:
            raise RadiographError("decode-failed", "the compressed pixels begin with no known codestream")
    except (struct.error, ValueError, IndexError):
        raise RadiographError("truncated-pixels", f"{_CUT}: the codestream ends inside its header") from None
    if whole and b"\xff\xd9" not in stream.rstrip(b"\0")[-4:]:
        raise RadiographError("truncated-pixels", f"{_CUT}: the codestream has no end marker")
    return header


def segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment of a JPEG before its first scan; start is at the marker.

    Raises
    ------
    RadiographError
        decode-failed: the segments are damaged.
    IndexError, struct.error
        The stream ends before the first scan.
    """
    at = 2
    while True:
        if stream[at] != 0xFF:
            raise RadiographError("decode-failed", "the JPEG codestream is damaged in its header")
        marker = stream[at + 1]
        if marker in (0xDA, 0xD9):
            return
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers that stand alone
            at += 2
        else:
            (length,) = struct.unpack_from(">H", stream, at + 2)
            if length < 2:
                raise RadiographError("decode-failed", "the JPEG codestream is damaged in its header")
            yield marker, at, at + 2 + length
            at += 2 + length


def without_metadata(stream: bytes) -> bytes:
    """Return a JPEG without EXIF, comments and the like, about which Pillow gives process-wide warnings.

    APP0 and APP14 stay: they say what the components mean.
    """
    view, end = memoryview(stream), 2
    parts = [view[:2]]
    for marker, start, end in segments(stream):
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            parts.append(view[start:end])
    return b"".join([*parts, view[end:]])


def _jpeg_header(stream: bytes) -> StreamHeader:
    """Read the frame header (T.81 B.2.2)."""
    for marker, start, end in segments(stream):
        if marker in _PROCESSES:
            precision, rows, columns, components = struct.unpack_from(">BHHB", stream, start + 4)
            if stream.count(b"\xff\xda", end) > _MAX_SCANS:
                raise RadiographError("decode-failed", f"a JPEG codestream of more than {_MAX_SCANS} scans")
            return StreamHeader(rows, columns, components, precision, False, _PROCESSES[marker])
    raise RadiographError("decode-failed", "the JPEG codestream has no frame header")


# Kind of coding by marker (T.81 table B.1, T.87 C.1.1).
_PROCESSES = {
    0xC0: "baseline",
    0xC1: "extended",
    0xC2: "progressive",
    0xC3: "lossless",
    0xC9: "extended",
    0xCA: "progressive",
    0xCB: "lossless",
    0xF7: "jpeg-ls",
}


def _j2k_header(stream: bytes) -> StreamHeader:
    """Read SIZ (T.800 A.5.1)."""
    x1, y1, x0, y0, tile_x, tile_y, _, _, components = struct.unpack_from(">8IH", stream, 8)
    depths = struct.unpack_from(">BBB", stream, 42)
    if x1 <= x0 or y1 <= y0 or not tile_x or not tile_y:
        raise RadiographError("decode-failed", "the JPEG 2000 codestream is damaged in its header")
    if components == 1 and depths[1:] != (1, 1):
        raise RadiographError("decode-failed", "a subsampled JPEG 2000 codestream")
    return StreamHeader(
        rows=y1 - y0,
        columns=x1 - x0,
        components=components,
        precision=(depths[0] & 0x7F) + 1,
        signed=bool(depths[0] & 0x80),
        process="jpeg-2000",
        levels=_decomposition_levels(stream),
    )


def _decomposition_levels(stream: bytes) -> int:
    """Return the number of wavelet decompositions, from COD of the main header (T.800 A.6.1)."""
    at = 2
    while stream[at : at + 2] not in (b"\xff\x90", b"\xff\xd9", b""):
        if stream[at : at + 2] == b"\xff\x52":
            return min(stream[at + 9], 32)
        (length,) = struct.unpack_from(">H", stream, at + 2)
        at += 2 + max(length, 2)
    return 0
