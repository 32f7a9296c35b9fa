"""The order in which stored pixels lie, where the header and the pixels disagree.

Of two orders, the right one keeps pixels close that lie one below the other: a radiograph is smooth. Compared are
byte orders, the two planar configurations, and Rows and Columns with Rows and Columns exchanged.

References
----------
DICOM PS3.3 C.7.6.3.1 (image pixel description macro), PS3.5 section 7.3 (byte ordering).
"""

from __future__ import annotations

import numpy as np

from xraytransfer.errors import RadiographError
from xraytransfer.reading.pixel_format import PixelFormat, Words

__all__ = ["arranged", "in_byte_order"]

# In films of public data sets, the mean step is 1 to 4 % of the range. In the other byte order it was at least 7 times
# as large, and with rows and columns exchanged 17 times in most.
_FAR_LESS = 3
_ROUGH = 0.05
# Planes that are taken for pixels show every third row: steps were 1.2 times as large or more, mostly 2.3 times.
_LESS = 1.2
# Rows and columns that are enough to tell.
_ROWS, _COLUMNS = 64, 128


def arranged(flat: Words, fmt: PixelFormat, samples: int, *, planar: bool) -> tuple[Words, list[str]]:
    """Return uncompressed words as a picture, shape (rows, columns) or (rows, columns, samples), and notes.

    Raises
    ------
    RadiographError
        invalid-attribute: Rows and Columns are exchanged.
    """
    if samples == 1:
        words, notes = in_byte_order(flat.reshape(fmt.rows, fmt.columns), fmt)
        if _is_far_smoother(words.reshape(fmt.columns, fmt.rows), words, fmt):
            raise RadiographError(
                "invalid-attribute",
                f"Rows is {fmt.rows} and Columns {fmt.columns}, but pixels lie close to their neighbours with the two "
                "exchanged only",
            )
        return words, notes
    said, other = (_shaped(flat, fmt, samples, planar=order) for order in (planar, not planar))
    if _LESS * _roughness(other[..., 0], fmt) < _roughness(said[..., 0], fmt):
        return other, [
            f"Planar Configuration is {int(planar)}, but pixels lie close to their neighbours with {int(not planar)} "
            "only: read so"
        ]
    return said, []


def in_byte_order(words: Words, fmt: PixelFormat) -> tuple[Words, list[str]]:
    """Return words of shape (rows, columns) with their bytes in the order that keeps neighbours close, and notes."""
    if words.itemsize == 2 and _is_far_smoother(words, words, fmt, swapped=True):
        return words.byteswap(), ["the bytes of each pixel lie in the other order than the header says: exchanged"]
    return words, []


def _is_far_smoother(other: Words, said: Words, fmt: PixelFormat, *, swapped: bool = False) -> bool:
    roughness = _roughness(said, fmt)
    return roughness > _ROUGH and _FAR_LESS * _roughness(other, fmt, swapped=swapped) < roughness


def _shaped(flat: Words, fmt: PixelFormat, samples: int, *, planar: bool) -> Words:
    if planar:
        return np.moveaxis(flat.reshape(samples, fmt.rows, fmt.columns), 0, 2)
    return flat.reshape(fmt.rows, fmt.columns, samples)


def _roughness(words: Words, fmt: PixelFormat, *, swapped: bool = False) -> float:
    """Return the mean step from a pixel to the one below it, as a share of the picture's range."""
    rows, columns = (max(1, size // most) for size, most in zip(words.shape, (_ROWS, _COLUMNS), strict=True))
    above, below = words[:-1:rows, ::columns], words[1::rows, ::columns]
    if swapped:
        above, below = above.byteswap(), below.byteswap()
    first, second = fmt.values(above), fmt.values(below)
    low, high = np.quantile(first, [0.01, 0.99])
    return float(np.abs(first - second).mean() / max(high - low, 1))
