"""How the samples of a picture lie in its stored words.

References
----------
DICOM PS3.3 C.7.6.3.1 (image pixel description macro), PS3.5 section 8.1 (pixel data encoding).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError

__all__ = ["MOST_MEMORY", "PixelFormat", "Words", "check_memory", "check_size"]

Words = NDArray[np.unsignedinteger[Any]]

# Half of the smallest pictures that data sets of chest films are handed out in.
_MIN_SIDE = 32
MOST_MEMORY = 1 << 30
"""Bytes that reading one film may take beyond the file's own size."""


@dataclass(frozen=True)
class PixelFormat:
    """How one frame is stored (PS3.3 C.7.6.3.1).

    Attributes
    ----------
    rows, columns : int
        Size of the picture.
    bits_allocated, bits_stored, high_bit : int
        Size of a word, bits of the sample in it, and the sample's topmost bit.
    signed : bool
        Whether the sample is in two's complement.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def shift(self) -> int:
        """Bits below the sample."""
        return self.high_bit + 1 - self.bits_stored

    @property
    def sample_range(self) -> tuple[int, int]:
        """The smallest and the largest sample that the stored bits can hold."""
        size = 1 << self.bits_stored
        return (-size // 2, size // 2 - 1) if self.signed else (0, size - 1)

    def values(self, words: Words) -> NDArray[np.int64]:
        """Return the samples in `words`: other bits masked, shifted down, the sign extended."""
        samples = (words.astype(np.int64) >> self.shift) & ((1 << self.bits_stored) - 1)
        if self.signed:
            sign = 1 << (self.bits_stored - 1)
            samples = (samples ^ sign) - sign
        return samples


def check_size(rows: int, columns: int, max_pixels: int) -> None:
    """Refuse sizes that no film has, before anything is decoded.

    Raises
    ------
    RadiographError
        too-large, too-small.
    """
    if rows * columns > max_pixels:
        raise RadiographError("too-large", f"{columns} x {rows} pixels; at most {max_pixels:,} are read")
    if min(rows, columns) < _MIN_SIDE:
        raise RadiographError("too-small", f"{columns} x {rows} pixels; expected at least {_MIN_SIDE} a side")


def check_memory(rows: int, columns: int, bytes_per_pixel: int, what: str, further: int = 0) -> None:
    """Refuse pictures that decoding would need too much memory for.

    Parameters
    ----------
    rows, columns : int
        Size of the picture.
    bytes_per_pixel : int
        What the decoder, its answer and what is made of it take together, at their largest.
    what : str
        How the pixels are stored, for the message.
    further : int
        Bytes that are needed whatever the number of pixels is.

    Raises
    ------
    RadiographError
        too-large.
    """
    needed = rows * columns * bytes_per_pixel + further
    if needed > MOST_MEMORY:
        raise RadiographError(
            "too-large",
            f"{columns} x {rows} pixels ({what}): reading them takes {needed >> 20:,} MiB of memory, at most "
            f"{MOST_MEMORY >> 20:,} are used. Store it with one sample of 16 bits or less per pixel, or smaller",
        )
