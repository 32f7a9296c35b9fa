"""A rule for single samples, applied to a whole picture.

A word has 8 or 16 bits, with few exceptions: the rule is worked out once for each possible word and looked up for
every pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xraytransfer.reading.pixel_format import PixelFormat, Words
from xraytransfer.reading.transforms import LookupTable, Padding, Rescale, Values

__all__ = ["Rule", "all_words", "apply", "blocks", "grid", "is_constant", "look_up", "present"]

# Looked up block by block: the indices that numpy makes of the words then stay in the processor's cache.
_BLOCK = 1 << 17


# Shares of pixels are estimated from a grid of about so many.
_GRID_PIXELS = 65_536


@dataclass(frozen=True)
class Rule:
    """What is the same for every recipe that honours the modality LUT."""

    fmt: PixelFormat
    modality: Rescale | LookupTable
    padding: Padding | None
    invert: bool

    def values(self, words: Words) -> tuple[Values, NDArray[np.bool_] | None]:
        """Return values after the modality LUT, and which are padding."""
        samples = self.fmt.values(words)
        return self.modality(samples), None if self.padding is None else self.padding.covers(words, samples)

    def levels(self, words: Words, shade: Callable[[Values], Values]) -> NDArray[np.uint8]:
        """Return the grey levels of words, of their shape; `shade` returns grey from 0 to 1 for values."""
        values, padded = self.values(words)
        levels: NDArray[np.uint8] = np.rint(shade(values) * 255).clip(0, 255).astype(np.uint8)
        if self.invert:
            levels = 255 - levels
        if padded is not None:
            levels[padded] = 0
        return levels


def blocks(words: Words) -> Iterator[tuple[slice, Words]]:
    """Yield the words in pieces, each with its place in the flattened picture."""
    flat = words.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        yield slice(start, start + _BLOCK), flat[start : start + _BLOCK]


def all_words(words: Words) -> Words:
    """Return every word that the type of `words` can hold."""
    return np.arange(1 << (8 * words.itemsize), dtype=words.dtype)


def look_up(table: NDArray[np.uint8], words: Words) -> NDArray[np.uint8]:
    """Return the entry of a table, which has one for each possible word, for every pixel."""
    out = np.empty(words.size, np.uint8)
    for where, block in blocks(words):
        # The table has an entry for every word: clip only spares numpy the check.
        table.take(block, out=out[where], mode="clip")
    return out.reshape(words.shape)


def apply(words: Words, rule: Rule, shade: Callable[[Values], Values]) -> NDArray[np.uint8]:
    """Return the picture's grey levels after a rule and a shade."""
    if words.itemsize <= 2:
        return look_up(rule.levels(all_words(words), shade), words)
    out = np.empty(words.size, np.uint8)
    for where, block in blocks(words):
        out[where] = rule.levels(block, shade)
    return out.reshape(words.shape)


def present(words: Words) -> Words:
    """Return each word that occurs, once."""
    seen = np.zeros(1 << (8 * words.itemsize), np.bool_)
    for _, block in blocks(words):
        seen[block] = True
    return np.flatnonzero(seen).astype(words.dtype)


def grid(words: Words) -> Words:
    """Return every n-th pixel of every n-th row."""
    step = max(1, int((words.size / _GRID_PIXELS) ** 0.5))
    return words[::step, ::step]


def is_constant(pixels: NDArray[np.uint8], words: Words, rule: Rule) -> bool:
    """Return whether the film, without its padding, has one grey level only."""
    if rule.padding is None:
        return bool(pixels.min() == pixels.max())
    levels: set[int] = set()
    flat = pixels.reshape(-1)
    for where, block in blocks(words):
        padded = rule.padding.covers(block, rule.fmt.values(block))
        levels.update(np.unique(flat[where][~padded]).tolist())
        if len(levels) > 1:
            return False
    return True
