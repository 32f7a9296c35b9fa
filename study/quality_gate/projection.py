"""A chest CT becomes a film at any angle: the sum of its attenuation along parallel rays.

Conventions
-----------
A volume holds Hounsfield units, shape (slices, rows, columns): the first slice is the uppermost, the first row the
front of the body, the first column the patient's right side. At 0 degrees the film is frontal, at 90 and -90
degrees lateral.
Bone is bright, and the patient's right side is on the left of a frontal film.

Differences from a radiograph: rays are parallel, the spectrum has one energy, nothing is scattered, and the arms of a
patient in a CT lie beside the head. Such films therefore show where a quality gate turns, not how often it errs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xraytransfer.radiograph import Film

__all__ = ["project", "resample"]

CUBE = 2.5
"""Side of the cubes that a volume is resampled to, mm: a quality gate sees a chest at 64 to 256 pixels."""
BODY = 30.0
"""Water that a ray passes at least inside a body, mm; less is table or air."""


def resample(volume: NDArray[np.int16], spacing: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return a volume as attenuation relative to water in cubes of `CUBE` mm.

    Parameters
    ----------
    volume : ndarray
        Hounsfield units, int16, shape (slices, rows, columns).
    spacing : tuple of float
        Distances between slices, rows and columns, mm.

    Returns
    -------
    ndarray
        float32, shape (slices, rows, columns): 0 for air, 1 for water, at most 3 (metal would outshine all bone).
    """
    attenuation = np.clip((volume.astype(np.float32) + 1000) / 1000, 0, 3)
    cubes: NDArray[np.float32] = ndimage.zoom(attenuation, [side / CUBE for side in spacing], order=1)
    return cubes


def project(attenuation: NDArray[np.float32], degrees: float, *, bone: float = 1.0) -> Film:
    """Return the film of a patient who is turned about the long axis.

    Parameters
    ----------
    attenuation : ndarray
        From `resample`.
    degrees : float
        The angle of turning.
    bone : float
        Power of the attenuation: above 1 bone stands out more, as with a softer beam.

    Returns
    -------
    Film
        uint8, cropped to the body.
    """
    turned = ndimage.rotate(attenuation**bone, degrees, axes=(1, 2), reshape=False, order=1)
    water = turned.sum(axis=1) * CUBE
    body = water > BODY
    rows = np.flatnonzero(body.any(axis=1))
    columns = np.flatnonzero(body.mean(axis=0) > 0.25)  # the table is a thin line, arms are in the upper part alone
    water = water[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    low, high = np.percentile(water[water > BODY], (1, 97))
    low *= 0.7  # lung is grey, air is black
    film: Film = np.rint(255 * np.clip((water - low) / (high - low), 0, 1)).astype(np.uint8)
    return film
