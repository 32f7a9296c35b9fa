"""Intensity recipes turn stored words into 8-bit grey levels in which air is dark and bone is bright.

Conventions
-----------
The order is DICOM's (PS3.3 C.11, PS3.4 N.2): modality LUT or rescale, VOI LUT or window, then one inversion
if the photometric interpretation is MONOCHROME1. Every recipe is a rule for single samples (equalisation
aside), so it is worked out once for each possible word of 8 or 16 bits and looked up for every pixel.

- ``voi``: modality LUT, then the file's own VOI LUT or first window. A picture of more than eight bits
  without one is stretched from its smallest to its largest value; one of eight bits is taken as it is.
- ``minmax``: modality LUT, then stretched from its smallest to its largest value.
- ``chexpert``: the converter that CheXpert's pictures were made with: stored samples stretched from the
  smallest to the largest, cut to 8 bits, inverted if MONOCHROME1, histogram equalised. No modality LUT, no
  window and no padding, as there. The JPEG compression (quality 95) that followed is not imitated.

Padding is outside of the film: it has no part in smallest and largest values and becomes black (not in
``chexpert``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError
from xraytransfer.reading.pixel_format import PixelFormat, Words
from xraytransfer.reading.transforms import LookupTable, Padding, Rescale, Values, Window

__all__ = ["INTENSITIES", "Grey", "equalise", "grey_levels"]

INTENSITIES = ("voi", "minmax", "chexpert")
"""Identifiers of the recipes; a model stores the one that it was trained with."""

# Looked up block by block: the indices that numpy makes of the words then stay in the processor's cache.
_BLOCK = 1 << 17


@dataclass(frozen=True, eq=False)
class Grey:
    """A picture of grey levels and where they came from.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (rows, columns)
        Air dark, bone bright.
    window : str
        ``voi-lut``, ``window``, ``full-range``, ``min-max`` or ``fallback: ...``.
    """

    pixels: NDArray[np.uint8]
    window: str


def grey_levels(
    words: Words,
    fmt: PixelFormat,
    *,
    recipe: str = "voi",
    modality: Rescale | LookupTable | None = None,
    voi: Window | LookupTable | None = None,
    invert: bool = False,
    padding: Padding | None = None,
) -> Grey:
    """Return grey levels after a recipe.

    Parameters
    ----------
    words : ndarray of uint8, uint16 or uint32, shape (rows, columns)
        Stored words, as `decode.decode` returns them.
    fmt : PixelFormat
        Where the sample lies in a word.
    recipe : str
        One of `INTENSITIES`.
    modality : Rescale or LookupTable, optional
        Absent: samples are taken as they are.
    voi : Window or LookupTable, optional
        Absent: see ``voi`` above.
    invert : bool
        Whether the photometric interpretation is MONOCHROME1.
    padding : Padding, optional
        Absent: every pixel belongs to the film.

    Raises
    ------
    RadiographError
        constant: the film has one value only.
    ValueError
        `recipe` is unknown.
    """
    if recipe not in INTENSITIES:
        raise ValueError(f"unknown intensity recipe {recipe!r}; known: {', '.join(INTENSITIES)}")
    if recipe == "chexpert":
        return _chexpert(words, fmt, invert)
    rule = _Rule(fmt, modality or Rescale(), padding, invert)
    window = "min-max"
    shade: Callable[[Values], Values] | None = None
    if recipe == "voi":
        if voi is not None:
            window, shade = ("voi-lut" if isinstance(voi, LookupTable) else "window"), voi.shade
        elif fmt.bits_stored <= 8 and modality is None:
            window, shade = "full-range", _stretch(*_sample_range(fmt))
    if shade is not None:
        pixels = _map(words, rule.levels(shade))
        if not _is_constant(pixels, words, rule):
            return Grey(pixels, window)
    low, high = _value_range(words, rule)
    if not high > low:
        raise RadiographError("constant", "every pixel of the film has the same value")
    if shade is not None:
        window = f"fallback: the {'VOI LUT' if window == 'voi-lut' else window} leaves one grey level; min-max"
    return Grey(_map(words, rule.levels(_stretch(low, high))), window)


def equalise(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return `pixels` with their histogram equalised, bit for bit as OpenCV's ``equalizeHist``.

    Parameters
    ----------
    pixels : ndarray of uint8, any shape
        A picture of one level only is returned unchanged.
    """
    histogram = np.bincount(pixels.ravel(), minlength=256)
    first = int(np.flatnonzero(histogram)[0])
    rest = pixels.size - int(histogram[first])
    if rest == 0:
        return pixels
    histogram[first] = 0
    # OpenCV multiplies in single precision and rounds half to even.
    table = np.rint(np.cumsum(histogram).astype(np.float32) * (np.float32(255) / np.float32(rest)))
    return np.asarray(np.clip(table, 0, 255).astype(np.uint8)[pixels])


@dataclass(frozen=True)
class _Rule:
    """The steps that the recipes with a modality LUT share."""

    fmt: PixelFormat
    modality: Rescale | LookupTable
    padding: Padding | None
    invert: bool

    def values(self, words: Words) -> tuple[Values, NDArray[np.bool_] | None]:
        """Return values after the modality LUT, and which are padding."""
        samples = self.fmt.values(words)
        return self.modality(samples), None if self.padding is None else self.padding.covers(words, samples)

    def levels(self, shade: Callable[[Values], Values]) -> Callable[[Words], NDArray[np.uint8]]:
        """Return the function from words to grey levels."""

        def levels(words: Words) -> NDArray[np.uint8]:
            values, padded = self.values(words)
            grey: NDArray[np.uint8] = np.rint(shade(values) * 255).clip(0, 255).astype(np.uint8)
            if self.invert:
                grey = 255 - grey
            if padded is not None:
                grey[padded] = 0
            return grey

        return levels


def _stretch(low: float, high: float) -> Callable[[Values], Values]:
    return lambda values: (values - low) / (high - low)


def _sample_range(fmt: PixelFormat) -> tuple[int, int]:
    size = 1 << fmt.bits_stored
    return (-size // 2, size // 2 - 1) if fmt.signed else (0, size - 1)


def _blocks(words: Words) -> Iterator[tuple[slice, Words]]:
    flat = words.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        yield slice(start, start + _BLOCK), flat[start : start + _BLOCK]


def _all_words(words: Words) -> Words:
    return np.arange(1 << (8 * words.itemsize), dtype=words.dtype)


def _map(words: Words, levels: Callable[[Words], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return the grey level of each word, by a rule for words of any shape."""
    table = levels(_all_words(words)) if words.itemsize <= 2 else None
    out = np.empty(words.size, np.uint8)
    for where, block in _blocks(words):
        if table is None:
            out[where] = levels(block)
        else:  # the table has an entry for every word: clip only spares numpy the check
            table.take(block, out=out[where], mode="clip")
    return out.reshape(words.shape)


def _present(words: Words) -> Words:
    """Return each word that occurs, once."""
    seen = np.zeros(1 << (8 * words.itemsize), np.bool_)
    for _, block in _blocks(words):
        seen[block] = True
    return np.flatnonzero(seen).astype(words.dtype)


def _value_range(words: Words, rule: _Rule) -> tuple[float, float]:
    """Return the smallest and largest value of the film; (0, 0) if all of it is padding."""
    ranges = []
    for block in [_present(words)] if words.itemsize <= 2 else (block for _, block in _blocks(words)):
        values, padded = rule.values(block)
        values = values if padded is None else values[~padded]
        if values.size:
            ranges.append((float(values.min()), float(values.max())))
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else (0.0, 0.0)


def _is_constant(pixels: NDArray[np.uint8], words: Words, rule: _Rule) -> bool:
    """Return whether the film, without its padding, has one grey level only."""
    if rule.padding is None:
        return bool(pixels.min() == pixels.max())
    levels: set[int] = set()
    flat = pixels.reshape(-1)
    for where, block in _blocks(words):
        padded = rule.padding.covers(block, rule.fmt.values(block))
        levels.update(np.unique(flat[where][~padded]).tolist())
        if len(levels) > 1:
            return False
    return True


def _chexpert(words: Words, fmt: PixelFormat, invert: bool) -> Grey:
    rule = _Rule(fmt, Rescale(), None, invert)
    low, high = _value_range(words, rule)
    if not high > low:
        raise RadiographError("constant", "every pixel of the film has the same value")

    def levels(block: Words) -> NDArray[np.uint8]:
        # In this order, and cut instead of rounded, as the converter does.
        eight = ((fmt.values(block) - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
        return np.bitwise_not(eight) if invert else eight

    return Grey(equalise(_map(words, levels)), "min-max, equalised")
