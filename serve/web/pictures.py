"""Pictures: films and activation maps in the form that JSON answers carry."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from xraytransfer.observations import OBSERVATIONS
from xraytransfer.overlay import overlay

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["film_picture", "map_pictures", "map_values"]

_OVERLAY_SIDE = 1024


def film_picture(pixels: NDArray[np.uint8], side: int) -> dict[str, Any]:
    """Return the film as the model sees it: windowed, inverted where necessary, 8 bit.

    Parameters
    ----------
    pixels : ndarray
        uint8, shape (rows, columns).
    side : int
        Longer side of the picture, in pixels; smaller films keep their size.

    Returns
    -------
    dict
        ``rows`` and ``columns`` of the film at its own size, and ``png``: the picture in base64.
    """
    film = Image.fromarray(pixels)
    film.thumbnail((side, side), Image.Resampling.BILINEAR)
    return {"rows": pixels.shape[0], "columns": pixels.shape[1], "png": _png(film)}


def map_pictures(
    pixels: NDArray[np.uint8], activation_map: NDArray[np.float32], identifiers: Sequence[str]
) -> dict[str, str]:
    """Return each observation's activation map over the film, by identifier: PNG in base64.

    Parameters
    ----------
    pixels : ndarray
        uint8, shape (rows, columns).
    activation_map : ndarray
        float32, shape (observations, h, w), in logits.
    identifiers : sequence of str
        Observations, as in `xraytransfer.OBSERVATIONS`.
    """
    rows = {observation.identifier: row for row, observation in enumerate(OBSERVATIONS)}
    brightest = float(activation_map.max())  # one scale for all six, chosen or not: weak evidence looks weak
    return {
        identifier: _png(overlay(pixels, activation_map[rows[identifier]], size=_OVERLAY_SIDE, full_scale=brightest))
        for identifier in identifiers
    }


def map_values(activation_map: NDArray[np.float32]) -> dict[str, list[list[float]]]:
    """Return every observation's activation map as rows of numbers, in logits, four decimals."""
    rounded = np.round(activation_map.astype(np.float64), 4)
    return {observation.identifier: rounded[row].tolist() for row, observation in enumerate(OBSERVATIONS)}


def _png(picture: Image.Image) -> str:
    file = BytesIO()
    picture.save(file, "PNG", compress_level=3)  # a tenth larger than the default, four times faster
    return base64.b64encode(file.getvalue()).decode("ascii")
