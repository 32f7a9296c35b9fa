"""Which bits of a stored word are the sample, where the header and the pixels disagree.

A header may name too few stored bits or a wrong high bit. Bits outside the named ones may also hold nothing
at all (PS3.5 section 8.1.1 lets them hold anything, overlays included), so their presence alone proves
nothing. A radiograph is smooth: the right reading is the one that keeps neighbouring samples close.

References
----------
DICOM PS3.5 section 8.1.1 (pixel data encoding), PS3.3 C.7.6.3.1 (image pixel description macro).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xraytransfer.reading.pixel_format import PixelFormat, Words

__all__ = ["clip_overshoot", "locate_samples"]

# A lossy codec exceeds the range at edges and in saturated areas, by a small part of the range. Words that lie
# further out, in more than a thousandth of the pixels, are not explained by it.
_OVERSHOOT = 0.25
_FAR_OUT = 0.001
# Noise sets the lowest bit of a sample in about half of the pixels; overlays and markers cover less than this.
_LOW_BITS_IN_USE = 0.25
# How much closer neighbours must be for the header to be overruled: it is rarely wrong.
_FAR_LESS = 4
# Steps of a film between pixels that tell are like its other steps, and there are some dozens of them.
_LIKE_THE_FILM = 4
_FEWEST_PAIRS = 32
_SIGN_PIXELS = 65_536
# Films of usual size are compared whole: bright spots beyond Bits Stored may be small.
_BITS_PIXELS = 8_000_000
_BLOCK_ROWS = 256


def clip_overshoot(words: Words, fmt: PixelFormat, precision: int) -> tuple[Words, list[str]]:
    """Return the words of a lossy codestream with every sample inside of the stored range.

    A lossy codec returns samples slightly below or above the range of the samples that it was given. Masking
    them to Bits Stored would turn white into black, so they are clipped.

    Parameters
    ----------
    words : ndarray of unsigned integers, shape (rows, columns)
        As decoded.
    fmt : PixelFormat
        As the header says.
    precision : int
        Bits per sample of the codestream.

    Returns
    -------
    words : ndarray
        The same array where nothing was clipped.
    notes : list of str
        What was clipped.
    """
    if precision <= fmt.bits_stored or fmt.shift:
        return words, []
    low, high = fmt.sample_range
    margin = _OVERSHOOT * (high - low)
    outside = far_out = 0
    clipped = np.empty_like(words)
    for start in range(0, len(words), _BLOCK_ROWS):
        values = words[start : start + _BLOCK_ROWS].astype(np.int64)
        if fmt.signed:
            sign = 1 << (precision - 1)
            values = ((values & ((1 << precision) - 1)) ^ sign) - sign
        outside += int(((values < low) | (values > high)).sum())
        far_out += int(((values < low - margin) | (values > high + margin)).sum())
        clipped[start : start + _BLOCK_ROWS] = np.clip(values, low, high).astype(words.dtype)
    if not outside or far_out > _FAR_OUT * words.size:
        return words, []
    return clipped, [
        f"{outside:,} samples of the lossy codestream lay outside of {fmt.bits_stored} stored bits: clipped"
    ]


def locate_samples(words: Words, fmt: PixelFormat) -> tuple[PixelFormat, list[str]]:
    """Return where the samples lie in the words, and notes where that is not what the header says.

    Parameters
    ----------
    words : ndarray of unsigned integers, shape (rows, columns)
        Stored words.
    fmt : PixelFormat
        As the header says; every bit of the sample is a bit of a word.

    Returns
    -------
    fmt : PixelFormat
        The header's, unless another reading keeps neighbouring samples closer.
    notes : list of str
        What was taken differently, and why.
    """
    used = int(np.bitwise_or.reduce(words, axis=None))
    located, notes = _locate_bits(words, fmt, used)
    other = _with_other_sign(located, used)
    # a sign is wrong everywhere
    if other.bits_stored > 8 and _keeps_neighbours_close(
        _some_rows(words, _SIGN_PIXELS), other, located, _crosses_the_sign(other)
    ):
        kind = f"{'signed' if other.signed else 'unsigned'} samples of {other.bits_stored} bits"
        notes.append(f"Pixel Representation contradicts the samples: read as {kind}, which keeps neighbours close")
        located = other
    return located, notes


def _locate_bits(words: Words, fmt: PixelFormat, used: int) -> tuple[PixelFormat, list[str]]:
    notes: list[str] = []
    if fmt.shift:
        if used >> fmt.bits_stored == 0 and _low_bits_in_use(words, fmt):
            right = replace(fmt, high_bit=fmt.bits_stored - 1)
            return right, [
                f"High Bit is {fmt.high_bit} with {fmt.bits_stored} bits stored, but the samples fill the lowest bits: "
                "read from the lowest bit on"
            ]
        notes.append(f"High Bit is {fmt.high_bit} with {fmt.bits_stored} bits stored: samples were shifted down")
    if used >> (fmt.high_bit + 1):
        wide = _with_upper_bits(fmt, used, 8 * words.itemsize)
        top, half = fmt.high_bit + 1, fmt.signed << fmt.high_bit
        # With half of their range added, signed samples that fit have equal bits above it, as unsigned ones have.
        some = _some_rows(words, _BITS_PIXELS)
        if _keeps_neighbours_close(some, wide, fmt, lambda one, other: ((one + half) ^ (other + half)) >> top != 0):
            notes.append(
                f"samples use {wide.bits_stored} bits, Bits Stored is {fmt.bits_stored}: read with {wide.bits_stored}"
            )
            return wide, notes
    return fmt, notes


def _low_bits_in_use(words: Words, fmt: PixelFormat) -> bool:
    return float(((words & ((1 << fmt.shift) - 1)) != 0).mean()) > _LOW_BITS_IN_USE


def _with_upper_bits(fmt: PixelFormat, used: int, bits_of_word: int) -> PixelFormat:
    """Return the format in which the bits above the stored ones belong to the sample."""
    top = bits_of_word if fmt.signed else used.bit_length()
    return replace(fmt, bits_stored=top - fmt.shift, high_bit=top - 1)


def _with_other_sign(fmt: PixelFormat, used: int) -> PixelFormat:
    """Return the format in which the topmost bit in use is a sign, if it is none by the header, or else is none."""
    top = min(used.bit_length() - 1, fmt.high_bit)
    if top == fmt.high_bit:
        return replace(fmt, signed=not fmt.signed)
    return replace(fmt, signed=True, high_bit=top, bits_stored=top + 1 - fmt.shift)


def _crosses_the_sign(fmt: PixelFormat) -> Callable[[Words, Words], NDArray[np.bool_]]:
    """Return the function that tells neighbours with different topmost bits.

    Those at an end of either range do not count: there lie borders and saturated pixels.
    """
    ones = ((1 << fmt.bits_stored) - 1) << fmt.shift
    top = 1 << fmt.high_bit
    ends = np.array([0, ones, top, ones ^ top])

    def telling(first: Words, second: Words) -> NDArray[np.bool_]:
        pairs: NDArray[np.bool_] = ((first ^ second) & top) != 0
        pairs[pairs] = ~np.isin(first[pairs] & ones, ends) & ~np.isin(second[pairs] & ones, ends)
        return pairs

    return telling


def _some_rows(words: Words, pixels: int) -> Words:
    """Return every n-th row, so that about so many pixels remain."""
    return words[:: max(1, words.size // pixels)]


def _keeps_neighbours_close(
    words: Words, other: PixelFormat, fmt: PixelFormat, telling: Callable[[Words, Words], NDArray[np.bool_]]
) -> bool:
    """Return whether neighbours in a row stay close in another format, and are far apart in the header's.

    Medians are compared, over the pairs that tell the formats apart and over all others that differ: the edges of a
    border, of an overlay or of a defective pixel are steps that no film makes, and must not outvote the film.
    """
    steps: dict[str, list[NDArray[np.int64]]] = {"usual": [], "other": [], "as said": []}
    for start in range(0, len(words), _BLOCK_ROWS):  # a block at a time, to need little memory
        block = words[start : start + _BLOCK_ROWS]
        first, second = block[:, :-1], block[:, 1:]
        pairs = telling(first, second)
        usual = ~pairs & (first != second)
        usual[:, ::2] = False  # half of them are enough
        for name, mask, reading in (("usual", usual, fmt), ("other", pairs, other), ("as said", pairs, fmt)):
            steps[name].append(np.abs(reading.values(first[mask]) - reading.values(second[mask])))
    usual_step, other_step, step = (np.concatenate(steps[name]) for name in ("usual", "other", "as said"))
    if len(step) < _FEWEST_PAIRS:
        return False
    film = max(float(np.median(usual_step)) if len(usual_step) else 1.0, 1.0)
    near, far = float(np.median(other_step)), float(np.median(step))
    return near <= _LIKE_THE_FILM * film and _FAR_LESS * near < far
