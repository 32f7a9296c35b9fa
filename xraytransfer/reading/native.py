"""Pixels that are not compressed.

References
----------
DICOM PS3.5 section 8.1 (native pixel data), PS3.3 C.7.6.3.1 (image pixel description macro).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xraytransfer.errors import RadiographError
from xraytransfer.reading.layout import arranged
from xraytransfer.reading.pixel_format import PixelFormat, Words
from xraytransfer.reading.syntaxes import Syntax

__all__ = ["PixelData", "native_words"]


@dataclass(frozen=True)
class PixelData:
    """The value of (7FE0,0010) Pixel Data, and what the header says of its form.

    Attributes
    ----------
    value : memoryview
        The bytes.
    syntax : str
        UID of the transfer syntax; empty if the header names none.
    encapsulated : bool
        Whether the value was written with undefined length: as items.
    swapped_bytes : bool
        Whether bytes of 8-bit pixels were written as big-endian words (OW, PS3.5 section 8.1.2).
    delimited : bool
        Whether the items should end with the sequence delimiter; pydicom removes it.
    samples : int
        Samples per Pixel, 1 or 3.
    planar : bool
        Whether native components lie one plane after the other (Planar Configuration 1).
    subsampled : bool
        Whether native pixels are YBR_FULL_422: two lumas, then the two chromas that they share.
    side : int or None
        Shorter side of the picture that will be made of the film: a codestream that allows it is decoded at
        the lowest resolution that is at least twice as large. None for full resolution.
    threads : int
        Threads that may decode one JPEG 2000 codestream.
    """

    value: memoryview
    syntax: str
    encapsulated: bool
    swapped_bytes: bool = False
    delimited: bool = True
    samples: int = 1
    planar: bool = False
    subsampled: bool = False
    side: int | None = None
    threads: int = 1


def native_words(pixels: PixelData, fmt: PixelFormat, known: Syntax) -> tuple[Words, list[str]]:
    """Return uncompressed pixels, shape (rows, columns) or (rows, columns, 3), and notes on them.

    Raises
    ------
    RadiographError
        The pixel data are shorter than the header says (``truncated-pixels``), hold another frame (``multi-frame``) or
        further rows (``invalid-attribute``), or are of a compressed transfer syntax and have another length
        (``corrupt``).
    """
    value, samples = pixels.value, pixels.samples
    size = fmt.bits_allocated // 8
    subsampled = samples == 3 and pixels.subsampled
    expected = fmt.rows * fmt.columns * size * (2 if subsampled else samples)
    notes = []
    if known.coding != "native":
        if not expected <= len(value) <= expected + expected % 2:
            raise RadiographError(
                "corrupt",
                f"the transfer syntax is {known.name}, but the pixel data are neither divided into items nor as "
                f"long as uncompressed pixels: {len(value):,} bytes, {expected:,} expected",
            )
        notes.append(f"the transfer syntax is {known.name}, but the pixels are not compressed: read as they are")
    _check_length(value, expected, fmt)
    if len(value) > expected + expected % 2:
        notes.append(f"{len(value) - expected} bytes after the pixels")
    if size == 1 and pixels.swapped_bytes:
        even = np.frombuffer(bytes(value[: expected + expected % 2]).ljust(expected + expected % 2, b"\0"), np.uint16)
        words = even.byteswap().view(np.uint8)[:expected]
    else:
        words = np.frombuffer(value, np.dtype(f"{'<' if known.little else '>'}u{size}"), expected // size)
        words = words.astype(words.dtype.newbyteorder("="), copy=False)
    if subsampled:
        return _full_chroma(words, fmt), notes
    words, found = arranged(words, fmt, samples, planar=pixels.planar)
    return words, notes + found


def _full_chroma(words: Words, fmt: PixelFormat) -> Words:
    """Return shape (rows, columns, 3) of YBR_FULL_422 (PS3.3 C.7.6.3.1.2): Y1, Y2, Cb, Cr for two pixels."""
    if fmt.columns % 2:
        raise RadiographError("invalid-attribute", f"YBR_FULL_422 with an odd number of columns, {fmt.columns}")
    pairs = words.reshape(fmt.rows, fmt.columns // 2, 4)
    luma = pairs[..., :2].reshape(fmt.rows, fmt.columns)
    return np.stack([luma, np.repeat(pairs[..., 2], 2, axis=1), np.repeat(pairs[..., 3], 2, axis=1)], axis=2)


def _check_length(value: memoryview, expected: int, fmt: PixelFormat) -> None:
    """Refuse pixel data of another length than the header says; zeros after them are padding."""
    length, row = len(value), expected // fmt.rows
    if length < expected:
        raise RadiographError(
            "truncated-pixels",
            "the pixels end too early, or the header states too many; fetch the file again: "
            f"{length:,} bytes of pixel data, {expected:,} expected",
        )
    if length >= 2 * expected:
        raise RadiographError(
            "multi-frame",
            f"{length:,} bytes of pixel data, {expected:,} expected: more than one frame, or larger pixels than the "
            "header says",
        )
    if length - expected >= row + row % 2 and np.frombuffer(value[expected:], np.uint8).any():
        raise RadiographError(
            "invalid-attribute",
            f"the pixel data hold {length // row} rows of {fmt.columns} pixels, Rows says {fmt.rows}",
        )
