"""Decoding: pixel data become an array of stored words.

Every bound is checked before anything is decoded: the header's size against the limit, the codestream's
own size against the header.

References
----------
DICOM PS3.5 section 8 and annex A (transfer syntaxes).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xraytransfer.errors import RadiographError
from xraytransfer.reading import codestream
from xraytransfer.reading.decoders import SYNTAXES, run_decoders
from xraytransfer.reading.pixel_format import PixelFormat, Words

__all__ = ["decode"]


def decode(
    pixels: memoryview, fmt: PixelFormat, syntax: str, *, encapsulated: bool, swapped_bytes: bool = False
) -> tuple[Words, PixelFormat, list[str]]:
    """Return one frame as it is stored.

    Parameters
    ----------
    pixels : memoryview
        The value of (7FE0,0010) Pixel Data.
    fmt : PixelFormat
        What the header says; `rows` and `columns` were held against the limit already.
    syntax : str
        UID of the transfer syntax.
    encapsulated : bool
        Whether `pixels` are items, written with undefined length.
    swapped_bytes : bool
        Bytes of 8-bit pixels were written as big-endian words (OW, PS3.5 section 8.1.2).

    Returns
    -------
    words : ndarray of uint8, uint16 or uint32, shape (rows, columns)
        Stored words; `PixelFormat.values` makes samples of them.
    fmt : PixelFormat
        How the samples lie in `words`; may differ from the header for a codestream.
    notes : list of str
        Oddities.

    Raises
    ------
    RadiographError
        unsupported-transfer-syntax, decode-failed, truncated-pixels, multi-frame, no-pixels, corrupt, colour.
    """
    known = SYNTAXES.get(syntax)
    if known is None:
        raise RadiographError(
            "unsupported-transfer-syntax",
            f"no decoder for the transfer syntax {syntax[:64]!r}; xraytransfer doctor lists those that are read",
        )
    if encapsulated and not known.tries:
        raise RadiographError("corrupt", f"the transfer syntax is {known.name}, but the pixels are compressed")
    if not known.tries:
        return _stored_words(pixels, fmt, known.little, swapped_bytes)
    run_length = known.name.startswith("RLE")
    stream, notes = codestream.frame(pixels, run_length=run_length)
    if run_length:
        header = codestream.StreamHeader(fmt.rows, fmt.columns, 1, fmt.bits_allocated, False, "run-length")
    else:
        header = codestream.read_header(stream)
    _check_header(header, fmt)
    words = run_decoders(known, syntax, stream, fmt, header)
    if run_length:
        return words, fmt, notes
    adapted = _as_coded(fmt, header)
    if adapted.bits_stored != fmt.bits_stored:
        notes.append(f"{header.precision} bits in the codestream, {fmt.bits_stored} in the header")
    return words, adapted, notes


def _stored_words(
    pixels: memoryview, fmt: PixelFormat, little: bool, swapped_bytes: bool
) -> tuple[Words, PixelFormat, list[str]]:
    size = fmt.bits_allocated // 8
    expected = fmt.rows * fmt.columns * size
    if len(pixels) < expected:
        raise RadiographError("truncated-pixels", f"{len(pixels):,} bytes of pixel data, {expected:,} expected")
    if len(pixels) >= 2 * expected:
        raise RadiographError(
            "multi-frame", f"{len(pixels):,} bytes of pixel data, {expected:,} expected: more than one frame"
        )
    notes = [f"{len(pixels) - expected} bytes after the pixels"] if len(pixels) > expected + expected % 2 else []
    if size == 1 and swapped_bytes:
        even = np.frombuffer(bytes(pixels[: expected + expected % 2]).ljust(expected + expected % 2, b"\0"), np.uint16)
        words = even.byteswap().view(np.uint8)[:expected]
    else:
        words = np.frombuffer(pixels, np.dtype(f"{'<' if little else '>'}u{size}"), fmt.rows * fmt.columns)
        words = words.astype(words.dtype.newbyteorder("="), copy=False)
    return words.reshape(fmt.rows, fmt.columns), fmt, notes


def _check_header(header: codestream.StreamHeader, fmt: PixelFormat) -> None:
    if (header.rows, header.columns) != (fmt.rows, fmt.columns):
        raise RadiographError(
            "corrupt",
            f"the codestream holds {header.columns} x {header.rows} pixels, the header says {fmt.columns} x {fmt.rows}",
        )
    if header.components != 1:
        raise RadiographError("colour", f"a codestream of {header.components} components; a film has one")
    if not 2 <= header.precision <= 32:
        raise RadiographError("decode-failed", f"a codestream of {header.precision} bits")


def _as_coded(fmt: PixelFormat, header: codestream.StreamHeader) -> PixelFormat:
    """Return where the sample lies in a decoded word.

    A codestream of as many bits as are stored, or fewer, holds the sample itself; one of more bits holds the
    word with the sample where HighBit says.
    """
    if header.precision > fmt.bits_stored:
        return fmt
    return replace(fmt, bits_stored=header.precision, high_bit=header.precision - 1)
