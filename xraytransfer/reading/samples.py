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
# How much closer neighbours must be for the header's sign to be overruled: it is rarely wrong.
_FAR_LESS = 4
_SIGN_PIXELS = 65_536
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
    values = words.astype(np.int32 if words.itemsize <= 2 else np.int64)
    if fmt.signed:
        sign = 1 << (precision - 1)
        values = ((values & ((1 << precision) - 1)) ^ sign) - sign
    low, high = fmt.sample_range
    outside = (values < low) | (values > high)
    margin = _OVERSHOOT * (high - low)
    if not outside.any() or ((values < low - margin) | (values > high + margin)).mean() > _FAR_OUT:
        return words, []
    clipped = np.clip(values, low, high).astype(f"i{words.itemsize}" if fmt.signed else words.dtype)
    return clipped.view(words.dtype), [
        f"{int(outside.sum()):,} samples of the lossy codestream lay outside of {fmt.bits_stored} stored bits: clipped"
    ]


def locate_samples(words: Words, fmt: PixelFormat) -> tuple[PixelFormat, list[str]]:
    """Return where the samples lie in the words, and notes where that is not what the header says.

    Parameters
    ----------
    words : ndarray of unsigned integers, shape (rows, columns)
        Stored words.
    fmt : PixelFormat
        As the header says.

    Returns
    -------
    fmt : PixelFormat
        The header's, unless another reading keeps neighbouring samples closer.
    notes : list of str
        What was taken differently, and why.
    """
    located, notes = _locate_bits(words, fmt)
    if located.bits_stored > 8 and _wrong_sign(words, located):
        word = "unsigned" if located.signed else "signed"
        notes.append(f"Pixel Representation contradicts the samples: read as {word}, which keeps neighbours close")
        located = replace(located, signed=not located.signed)
    return located, notes


def _locate_bits(words: Words, fmt: PixelFormat) -> tuple[PixelFormat, list[str]]:
    used = int(np.bitwise_or.reduce(words, axis=None))
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
        wide = _with_upper_bits(fmt, used)
        top = fmt.high_bit + 1
        one, other = _changes(words, wide, fmt, lambda first, second: ((first ^ second) >> top) != 0)
        if 2 * one < other:
            notes.append(
                f"samples use {wide.bits_stored} bits, Bits Stored is {fmt.bits_stored}: read with {wide.bits_stored}"
            )
            return wide, notes
    return fmt, notes


def _low_bits_in_use(words: Words, fmt: PixelFormat) -> bool:
    return float(((words & ((1 << fmt.shift) - 1)) != 0).mean()) > _LOW_BITS_IN_USE


def _with_upper_bits(fmt: PixelFormat, used: int) -> PixelFormat:
    """Return the format in which the bits above the stored ones belong to the sample."""
    top = fmt.bits_allocated if fmt.signed else used.bit_length()
    return replace(fmt, bits_stored=top - fmt.shift, high_bit=top - 1)


def _wrong_sign(words: Words, fmt: PixelFormat) -> bool:
    """Return whether neighbours differ by far less with the other sign.

    Only neighbours with different topmost bits tell, and of these not the ones at an end of the range: a black border
    beside saturated air would be a small step of signed samples.
    """
    ones = ((1 << fmt.bits_stored) - 1) << fmt.shift

    def telling(first: Words, second: Words) -> NDArray[np.bool_]:
        inside: NDArray[np.bool_] = (
            ((first & ones) != 0) & ((second & ones) != 0) & ((first & ones) != ones) & ((second & ones) != ones)
        )
        inside &= ((first ^ second) >> fmt.high_bit) & 1 != 0
        return inside

    # a part of the rows is enough: a sign is wrong everywhere
    step = max(1, words.size // _SIGN_PIXELS)
    other, as_said = _changes(words[::step], replace(fmt, signed=not fmt.signed), fmt, telling)
    return _FAR_LESS * other < as_said


def _changes(
    words: Words, one: PixelFormat, other: PixelFormat, telling: Callable[[Words, Words], NDArray[np.bool_]]
) -> tuple[int, int]:
    """Return by how much neighbours in a row differ in two formats, summed over the pairs that tell them apart."""
    changes_one, changes_other = 0, 0
    for start in range(0, len(words), _BLOCK_ROWS):  # a block at a time, to need little memory
        block = words[start : start + _BLOCK_ROWS]
        first, second = block[:, :-1], block[:, 1:]
        pairs = telling(first, second)
        before, after = first[pairs], second[pairs]
        changes_one += int(np.abs(one.values(before) - one.values(after)).sum())
        changes_other += int(np.abs(other.values(before) - other.values(after)).sum())
    return changes_one, changes_other
