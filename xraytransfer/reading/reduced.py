"""Decoding at reduced resolution: a network needs a small part of a film's pixels.

JPEG 2000 stores a picture as resolution levels, each half as large as the next, and JPEG as blocks that can be
transformed at a half, a quarter or an eighth of their size. Decoding a lower level takes a small part of the time.

References
----------
ITU-T T.800 annex B (resolution levels) and A.6.1 (coding style); ITU-T T.81 annex A.3 (blocks).
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.reading.codestream import StreamHeader, without_metadata
from xraytransfer.reading.pixel_format import PixelFormat, Words
from xraytransfer.reading.transforms import Padding

__all__ = ["decode_reduced", "halvings", "spread_padding"]

_SCALABLE = ("jpeg-2000", "baseline", "progressive")
_JPEG_HALVINGS = 3
# The reduced picture is at least so many times as large as what is made of it: resizing then still averages.
_AT_LEAST = 2


def halvings(header: StreamHeader, fmt: PixelFormat, side: int | None) -> int:
    """Return how often a codestream's picture may be halved before it is decoded; 0 for not at all.

    Parameters
    ----------
    header : StreamHeader
        What the codestream says of itself.
    fmt : PixelFormat
        What the DICOM header says. Where the two disagree on the sample, the picture is decoded whole: words that
        are no plain samples cannot be averaged.
    side : int or None
        Shorter side of the picture that will be made of the film; None for full resolution.
    """
    plain = header.precision == fmt.bits_stored and not fmt.shift and header.signed == fmt.signed
    if side is None or header.process not in _SCALABLE or header.components != 1 or not plain:
        return 0
    if header.process != "jpeg-2000" and header.precision != 8:
        return 0
    most = header.levels if header.process == "jpeg-2000" else _JPEG_HALVINGS
    shorter, count = min(header.rows, header.columns), 0
    while count < most and shorter >> (count + 1) >= _AT_LEAST * side:
        count += 1
    while header.process == "jpeg-2000" and not (
        _pillow_knows(header.rows, count) and _pillow_knows(header.columns, count)
    ):
        count -= 1
    return count


def _pillow_knows(size: int, count: int) -> bool:
    """Return whether Pillow, which rounds, expects as many reduced pixels as the codestream, which rounds up, holds."""
    return (size + (1 << count) // 2) >> count == -(-size >> count)


def decode_reduced(stream: bytes, header: StreamHeader, count: int) -> Words:
    """Return the picture halved `count` times: unsigned words of about ``rows / 2**count`` rows.

    Raises
    ------
    OSError, ValueError, SyntaxError
        The codestream is damaged.
    """
    if header.process == "jpeg-2000":
        return _jpeg_2000(stream, header, count)
    from PIL import JpegImagePlugin

    with JpegImagePlugin.JpegImageFile(BytesIO(without_metadata(stream))) as image:
        image.draft("L", (header.columns >> count, header.rows >> count))
        words: Words = np.asarray(image)
        return words


def _jpeg_2000(stream: bytes, header: StreamHeader, count: int) -> Words:
    from PIL import Jpeg2KImagePlugin

    with Jpeg2KImagePlugin.Jpeg2KImageFile(BytesIO(stream)) as image:
        image.reduce = count
        image.load()
        samples: NDArray[Any] = np.asarray(image).astype(np.uint16)
        # Pillow scales samples up to 8 or 16 bits, and moves signed ones up by half of the range.
        samples >>= (8 if image.mode == "L" else 16) - header.precision
    if header.signed:
        samples = (samples.astype(np.int32) - (1 << (header.precision - 1))).astype(np.int16).view(np.uint16)
    return samples if header.precision > 8 or header.signed else samples.astype(np.uint8)


def spread_padding(words: Words, fmt: PixelFormat, padding: Padding) -> Words:
    """Return reduced words with padding a pixel wider: at its edge, padding and film are averaged."""
    covered = padding.covers(words, fmt.values(words))
    wider = covered.copy()
    wider[1:] |= covered[:-1]
    wider[:-1] |= covered[1:]
    across = wider.copy()
    across[:, 1:] |= wider[:, :-1]
    across[:, :-1] |= wider[:, 1:]
    spread: Words = words.copy()
    spread[across] = padding.word & (2 ** (8 * words.itemsize) - 1)
    return spread
