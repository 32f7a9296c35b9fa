"""The grey transformations of DICOM: modality rescale, look-up tables, windows, padding.

References
----------
DICOM PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.5.1.1.2 (padding).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.reading.pixel_format import Words

__all__ = ["VOI_FUNCTIONS", "LookupTable", "Padding", "Rescale", "Window"]

Values = NDArray[Any]


@dataclass(frozen=True)
class Rescale:
    """Modality rescale (PS3.3 C.11.1.1.2)."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, samples: Values) -> Values:
        """Return float64 of the shape of `samples`."""
        return samples * float(self.slope) + float(self.intercept)


@dataclass(frozen=True, eq=False)
class LookupTable:
    """Modality LUT (PS3.3 C.11.1.1.1) or VOI LUT (C.11.2.1.1).

    Attributes
    ----------
    first : int
        Value mapped to the first entry; smaller ones get it too, values past the end the last entry.
    entries : ndarray of uint8 or uint16, shape (n,)
    bits : int
        Bits of an entry: white is ``2**bits - 1``.
    """

    first: int
    entries: NDArray[Any]
    bits: int

    def __call__(self, samples: Values) -> Values:
        """Return float64 of the shape of `samples`."""
        index = np.clip(np.round(samples).astype(np.int64) - self.first, 0, len(self.entries) - 1)
        return self.entries[index].astype(np.float64)

    def shade(self, values: Values) -> Values:
        """Return grey in [0, 1]."""
        return self(values) / float((1 << self.bits) - 1)


VOI_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
"""The VOI LUT functions that `Window.shade` computes (PS3.3 C.11.2.1.3)."""


@dataclass(frozen=True)
class Window:
    """A grey window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Attributes
    ----------
    center, width : float
        In units of the modality LUT's output.
    function : str
        One of `VOI_FUNCTIONS`.
    """

    center: float
    width: float
    function: str = "LINEAR"

    def shade(self, values: Values) -> Values:
        """Return grey in [0, 1], float64 of the shape of `values`."""
        if self.function == "SIGMOID":
            # exp overflows above 709; the curve is flat long before.
            return 1 / (1 + np.exp(np.clip(-4 * (values - self.center) / self.width, -700, 700)))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.center) / self.width + 0.5, 0, 1)
        if self.width == 1:
            return (values > self.center - 0.5).astype(np.float64)
        return np.clip((values - (self.center - 0.5)) / (self.width - 1) + 0.5, 0, 1)


@dataclass(frozen=True)
class Padding:
    """Pixels outside of the film (PS3.3 C.7.5.1.1.2).

    Attributes
    ----------
    low, high : int
        Range of padding samples, both included.
    word : int
        The padding value as a whole word: some files use bits above those of the sample.
    """

    low: int
    high: int
    word: int

    def covers(self, words: Words, samples: Values) -> NDArray[np.bool_]:
        """Return which are padding."""
        covered: NDArray[np.bool_] = ((samples >= self.low) & (samples <= self.high)) | (words == self.word)
        return covered
