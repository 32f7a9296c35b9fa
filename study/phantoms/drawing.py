"""Procedural chest phantoms: pictures with the anatomy of a chest film, drawn without any patient data.

Conventions
-----------
x runs right and y down, both in [0, 1]; the patient's right side is on the left of the picture, as on a film.
A side is -1 (the patient's right) or +1. `reach` is the distance from the midline towards a side.
The functions add up attenuation t along the ray, in units of the chest wall's; a pixel is ``1 - exp(-1.1 t)``.
Everything is drawn from an `Anatomy`, severities in [0, 1] and a generator; equal inputs give equal pictures.

Signs
-----
Atelectasis : plate-like bands at a base, with the diaphragm of that side raised and the mediastinum shifted to it.
Cardiomegaly : a heart wider than half of the chest.
Consolidation : a cloudy patch in one lung with dark air bronchograms inside.
Edema : haze around both hila ("bat wings"), thick vessels, short septal lines at the bases.
Pleural Effusion : fluid above a hemidiaphragm, blunting its angle and rising at the wall (the meniscus).
No Finding : none of these.

References
----------
Hansell et al., Fleischner Society: Glossary of Terms for Thoracic Imaging, Radiology 246, 2008.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from xraytransfer.study.phantoms.anatomy import Anatomy
from xraytransfer.study.phantoms.frontal import Frontal
from xraytransfer.study.phantoms.soft_shapes import edge, ellipse, expose, grid

__all__ = ["SIGNS", "Anatomy", "draw_frontal", "draw_lateral"]

SIGNS = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural_effusion")
"""The signs that can be drawn; a phantom without any of them is labelled No Finding."""


def draw_frontal(
    anatomy: Anatomy,
    severity: Mapping[str, float],
    generator: np.random.Generator,
    *,
    size: int = 160,
    portable: bool = False,
) -> NDArray[np.uint8]:
    """Draw a frontal picture.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    severity : mapping
        Severity of each of `SIGNS`, in [0, 1]; an absent one counts as 0.
    generator : numpy.random.Generator
        Source of randomness for vessels, texture, exposure and noise.
    size : int
        Side of the picture in pixels.
    portable : bool
        Whether it is taken AP at the bedside: with a larger heart, a shallower breath, a lead and more noise.

    Returns
    -------
    ndarray
        uint8, shape (size, size); air is dark and bone bright.

    Raises
    ------
    ValueError
        A key of `severity` is not one of `SIGNS`.
    """
    if unknown := sorted(set(severity) - set(SIGNS)):
        raise ValueError(f"unknown signs {unknown}; known: {', '.join(SIGNS)}")
    canvas = Frontal(anatomy, {sign: severity.get(sign, 0.0) for sign in SIGNS}, generator, size, portable)
    return expose(canvas.attenuation(), generator, portable)


def draw_lateral(
    anatomy: Anatomy, severity: Mapping[str, float], generator: np.random.Generator, *, size: int = 160
) -> NDArray[np.uint8]:
    """Draw a lateral picture, coarser than the frontal one, for data sets that have both.

    Parameters and return value are those of `draw_frontal`.
    """
    y, x = grid(size)
    half = 0.20 + 0.18 * np.clip(y / 0.35, 0, 1) ** 0.7 - 0.03 * np.clip(y - 0.6, 0, 1)
    across = x - 0.5 - 0.10 * (1 - np.clip(y / 0.3, 0, 1))
    body = edge(half - np.abs(across), 0.012)
    total = anatomy.tissue * body * (0.55 + 0.45 * np.sqrt(np.clip(1 - (across / (half + 0.02)) ** 2, 0, 1)))
    dome = anatomy.base - 0.06 + 0.8 * np.clip(x - 0.42, 0, 1) ** 2
    top = np.clip((y - anatomy.apex - 0.03) / 0.30, 0, 1)
    lung = edge((half - 0.045) * np.sqrt(1 - (1 - top) ** 2) - np.abs(across), 0.012) * edge(dome - y, 0.008)
    heart = ellipse(
        x + 0.25 * (y - 0.6), y, (0.36, 0.62), (0.13 + 0.05 * severity.get("cardiomegaly", 0.0), 0.15), 0.12
    )
    total -= 0.70 * lung * (1 - 0.85 * heart)
    spine = edge(0.045 - np.abs(x - 0.70 - 0.05 * np.sin(np.pi * y)), 0.008)
    total += spine * (0.35 + 0.12 * np.sin(y * 2 * np.pi * 13)) * body
    for rib in range(8):
        line = np.abs(y - 0.12 - 0.085 * rib - 0.28 * (0.75 - x))
        total += 0.10 * np.exp(-((line / 0.012) ** 4)) * edge(half - 0.03 - np.abs(across), 0.01)
    total += 0.5 * severity.get("edema", 0.0) * np.exp(-(((x - 0.5) / 0.14) ** 2) - ((y - 0.45) / 0.15) ** 2)
    total += 0.6 * severity.get("consolidation", 0.0) * ellipse(x, y, (0.58, 0.60), (0.09, 0.11), 0.2) * lung
    fluid = edge(y - anatomy.base + 0.10 * severity.get("pleural_effusion", 0.0), 0.01)
    total += 0.6 * (severity.get("pleural_effusion", 0.0) > 0) * fluid * edge(x - 0.52, 0.04) * body
    total += 0.3 * severity.get("atelectasis", 0.0) * np.exp(-(((y - 0.62 - 0.2 * (x - 0.5)) / 0.012) ** 2)) * lung
    return expose(np.clip(total, 0, None), generator, portable=False)
