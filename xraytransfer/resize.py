"""Resizing of a whole film to the model's resolution, the same for training and scoring."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["resize"]


def resize(pixels: NDArray[np.uint8], resolution: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the picture at another resolution, resized with Pillow's antialiased BILINEAR.

    The whole film is stretched to the resolution without keeping its aspect ratio. The model's graph does the same to
    the films that it is given, up to rounding.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (rows, columns)
    resolution : (int, int)
        Rows and columns of the result, each at least 1.

    Returns
    -------
    ndarray of uint8, shape `resolution`
        `pixels` itself if it has that resolution already.

    Raises
    ------
    ValueError
        `pixels` is no picture of uint8 with two axes, or `resolution` is not positive.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or not pixels.size:
        raise ValueError(f"expected uint8 pixels of shape (rows, columns), got {pixels.dtype} {pixels.shape}")
    rows, columns = resolution
    if rows < 1 or columns < 1:
        raise ValueError(f"expected a resolution of at least 1 x 1, got {rows} x {columns}")
    if pixels.shape == (rows, columns):
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))
