"""The radiograph: the result of reading a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Radiograph"]


@dataclass(frozen=True, eq=False)
class Radiograph:
    """A radiograph as an 8-bit grey picture, what it is, and what was done to its pixels.

    Attributes
    ----------
    pixels : ndarray of uint8, shape (rows, columns)
        Grey levels in MONOCHROME2 sense: air dark, bone bright.
    source : str
        The path as it was given, the name of a file object, ``<bytes>`` or ``<dataset>``.
    format : str
        ``dicom``, ``png`` or ``jpeg``.
    intensity : str
        The recipe: ``voi``, ``minmax`` or ``chexpert`` (see `xraytransfer.reading.intensity`).
    inverted : bool
        Whether MONOCHROME1 was inverted.
    window : str
        Where the grey window came from: ``voi-lut``, ``window``, ``full-range``, ``min-max``,
        ``min-max, equalised``, or ``fallback: `` and why.
    bits_stored : int or None
        Bits of a stored sample.
    notes : tuple of str
        What a reader should know: oddities of the header, fallbacks. Holds no patient data.
    view_position : str or None
        ``PA``, ``AP``, another term of the header; None if the file does not say.
    modality, photometric_interpretation, transfer_syntax : str or None
        As the header says; None for PNG and JPEG.
    reduction : int
        1 for full resolution; 2, 4 or more where the codestream was decoded at a half, a quarter or less of it.
    """

    pixels: NDArray[np.uint8]
    source: str
    format: str
    intensity: str
    inverted: bool
    window: str
    bits_stored: int | None
    notes: tuple[str, ...]
    view_position: str | None = None
    modality: str | None = None
    photometric_interpretation: str | None = None
    transfer_syntax: str | None = None
    reduction: int = 1

    def provenance(self) -> dict[str, object]:
        """Return the attributes and the shape of the pixels, without the pixels, for `json.dumps`."""
        return {
            "source": self.source,
            "format": self.format,
            "rows": int(self.pixels.shape[0]),
            "columns": int(self.pixels.shape[1]),
            "intensity": self.intensity,
            "inverted": self.inverted,
            "window": self.window,
            "view_position": self.view_position,
            "modality": self.modality,
            "photometric_interpretation": self.photometric_interpretation,
            "bits_stored": self.bits_stored,
            "transfer_syntax": self.transfer_syntax,
            "reduction": self.reduction,
            "notes": list(self.notes),
        }
