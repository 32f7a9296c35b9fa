"""What the caller of `read_radiograph` asked for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ReadingOptions"]

_HEADROOM = 64 << 20


@dataclass(frozen=True)
class ReadingOptions:
    """How one film is to be read.

    Attributes
    ----------
    source : str
        The name that results use for the film.
    intensity, any_modality, max_pixels, reduced_to, threads
        As `xraytransfer.radiograph.read_radiograph` takes them.
    """

    source: str
    intensity: str
    any_modality: bool
    max_pixels: int
    reduced_to: int | None
    threads: int

    @property
    def max_bytes(self) -> int:
        """The widest pixels have four bytes; the rest is for header, overlays and icons."""
        return 4 * self.max_pixels + _HEADROOM
