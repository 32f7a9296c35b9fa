"""Intensity recipes: from stored words to 8-bit grey levels in which air is dark and bone is bright.

Conventions
-----------
The order is DICOM's (PS3.3 C.11, PS3.4 N.2): modality LUT or rescale, VOI LUT or window, then one inversion
if the photometric interpretation is MONOCHROME1. Every recipe is a rule for single samples (equalisation
aside), so it is worked out once for each possible word of 8 or 16 bits and looked up for every pixel.

- ``voi``: modality LUT, then the first of the file's own VOI LUTs and windows that fits its values. A picture
  of more than eight bits without one is stretched over its own range; one of eight bits is taken as it is.
- ``minmax``: modality LUT, then stretched over its own range.
- ``chexpert``: the converter that CheXpert's pictures were made with: stored samples stretched from the
  smallest to the largest, cut to 8 bits, inverted if MONOCHROME1, histogram equalised. No modality LUT, no
  window and no padding, as there. The JPEG compression (quality 95) that followed is not imitated.

A film's own range reaches from its smallest to its largest value, but for values that lie far outside of
those of nearly all pixels (`own_range`): burned-in marks and defective detector
elements become black or white and do not decide the grey levels of all others.

A window or VOI LUT does not fit if it leaves nearly all of the film in a few grey levels where the film's own
range would not (`_FEW_LEVELS`). What the file offers next is then taken.

Padding is outside of the film: it has no part in any of this and becomes black (not in ``chexpert``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError
from xraytransfer.reading.grey_rule import Rule, all_words, apply, blocks, grid, is_constant, look_up
from xraytransfer.reading.own_range import extremes, own_range, stretch
from xraytransfer.reading.pixel_format import PixelFormat, Words
from xraytransfer.reading.transforms import LookupTable, Padding, Rescale, Window

__all__ = ["INTENSITIES", "Grey", "equalise", "grey_levels"]

INTENSITIES = ("voi", "minmax", "chexpert")
"""Identifiers of the recipes; a model stores the one that it was trained with."""

# A window that leaves 98 % of the film in fewer of the 256 grey levels than this does not fit, if the film's own range
# leaves it in at least twice as many. Right windows leave it in more than a hundred.
_NEARLY_ALL = 0.98
_FEW_LEVELS = 32


@dataclass(frozen=True, eq=False)
class Grey:
    """A picture of grey levels and where they came from.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (rows, columns)
        Air dark, bone bright.
    window : str
        ``voi-lut``, ``window``, ``full-range``, ``min-max`` or ``fallback: ...``.
    notes : tuple of str
        What was left out of the film's own range.
    """

    pixels: NDArray[np.uint8]
    window: str
    notes: tuple[str, ...] = ()


def grey_levels(
    words: Words,
    fmt: PixelFormat,
    *,
    recipe: str = "voi",
    modality: Rescale | LookupTable | None = None,
    voi: Sequence[Window | LookupTable] = (),
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
    voi : sequence of Window or LookupTable
        What the file offers, in the order of preference. Empty: see ``voi`` above.
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
    rule = Rule(fmt, modality or Rescale(), padding, invert)
    refused = ""
    for offer in voi if recipe == "voi" else ():
        is_table = isinstance(offer, LookupTable)
        pixels = apply(words, rule, offer.shade)
        if misfit := _misfit(pixels, words, rule):
            refused = f"fallback: the {'VOI LUT' if is_table else 'window'} leaves {misfit}; "
        else:
            return Grey(pixels, f"{refused}{'voi-lut' if is_table else 'window'}")
    if recipe == "voi" and fmt.bits_stored <= 8 and modality is None:
        pixels = apply(words, rule, stretch(*fmt.sample_range))
        if not is_constant(pixels, words, rule):
            return Grey(pixels, f"{refused}full-range")
        refused = refused or "fallback: the full-range leaves one grey level; "
    own = own_range(words, rule)
    return Grey(apply(words, rule, stretch(own.low, own.high)), f"{refused}min-max", own.notes)


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


def _levels_in_use(levels: NDArray[np.uint8], padded: NDArray[np.bool_] | None) -> int:
    """Return the fewest grey levels that hold nearly all of the film."""
    counts = np.bincount(levels.reshape(-1) if padded is None else levels[~padded], minlength=256)
    return int(np.searchsorted(np.cumsum(np.sort(counts)[::-1]), _NEARLY_ALL * counts.sum())) + 1


def _misfit(pixels: NDArray[np.uint8], words: Words, rule: Rule) -> str:
    """Return what a window leaves of the film where that is next to nothing; empty where it fits."""
    if is_constant(pixels, words, rule):
        return "one grey level"
    sample = grid(words)
    padded = None if rule.padding is None else rule.padding.covers(sample, rule.fmt.values(sample))
    levels = _levels_in_use(grid(pixels), padded)
    if levels < _FEW_LEVELS:
        own = own_range(words, rule)
        if _levels_in_use(rule.levels(sample, stretch(own.low, own.high)), padded) >= 2 * levels:
            return f"nearly all of the film in {levels} grey levels"
    return ""


def _chexpert(words: Words, fmt: PixelFormat, invert: bool) -> Grey:
    rule = Rule(fmt, Rescale(), None, invert)
    ends = extremes(words, rule, -np.inf, np.inf)
    if ends is None or ends[0] == ends[1]:
        raise RadiographError("constant", "every pixel of the film has the same value")
    low, high = ends

    def levels(block: Words) -> NDArray[np.uint8]:
        # In this order, and cut instead of rounded, as the converter does.
        eight = ((fmt.values(block) - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
        return np.bitwise_not(eight) if invert else eight

    if words.itemsize <= 2:
        pixels = look_up(levels(all_words(words)), words)
    else:
        pixels = np.empty(words.size, np.uint8)
        for where, block in blocks(words):
            pixels[where] = levels(block)
        pixels = pixels.reshape(words.shape)
    return Grey(equalise(pixels), "min-max, equalised")
