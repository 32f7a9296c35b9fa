"""The proportions of a phantom patient, from which its pictures are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Anatomy"]


@dataclass(frozen=True)
class Anatomy:
    """The proportions of one phantom patient. Lengths are shares of the picture's side.

    Attributes
    ----------
    width : float
        Half width of the chest inside the ribs, about .36.
    apex, base : float
        Position of the upper end of the lungs, and of the domes of the diaphragm, from the top.
    heart : float
        Cardiothoracic ratio without disease, .40 to .49.
    tilt : float
        Shift of the midline from top to bottom.
    tissue : float
        Thickness of the chest wall, about 1.
    side : int
        Side of one-sided signs: -1 the patient's right, +1 the left.
    """

    width: float
    apex: float
    base: float
    heart: float
    tilt: float
    tissue: float
    side: int

    @classmethod
    def draw(cls, generator: np.random.Generator) -> Anatomy:
        """Return a patient drawn at random."""
        return cls(
            width=float(generator.uniform(0.33, 0.39)),
            apex=float(generator.uniform(0.09, 0.14)),
            base=float(generator.uniform(0.72, 0.80)),
            heart=float(generator.uniform(0.40, 0.485)),
            tilt=float(generator.normal(0, 0.015)),
            tissue=float(generator.uniform(0.85, 1.2)),
            side=int(generator.choice((-1, 1))),
        )
