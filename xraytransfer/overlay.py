"""Overlays: a film with an activation map laid over it, which shows where a model found evidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["captioned", "overlay"]

# Anchors of a perceptually even ramp from dark to bright (violet, magenta, orange, yellow): colour-blind readers can
# tell them apart, and none is a grey that could be taken for anatomy.
_RAMP = np.array([[45, 10, 90], [140, 30, 130], [220, 70, 80], [250, 150, 40], [252, 245, 120]], np.float32)
_STRENGTH = 0.55


def overlay(
    pixels: NDArray[np.uint8],
    activation_map: NDArray[np.float32],
    *,
    size: int | None = 1024,
    full_scale: float | None = None,
) -> Image.Image:
    """Return the film with the map's positive part laid over it.

    Parameters
    ----------
    pixels : ndarray
        uint8, shape (rows, columns), MONOCHROME2 sense.
    activation_map : ndarray
        float32, shape (h, w), in logits; stretched over the whole film. Where nothing is positive,
        the film is returned without colour, since no position supports the observation.
    size : int or None
        Longer side of the picture in pixels; smaller films are not enlarged. None keeps the film's size.
    full_scale : float or None
        The value, in logits, that gets the brightest colour: the maximum over a film's maps makes weak
        evidence look weak. None takes this map's own maximum, which shows where, not how much.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    film = Image.fromarray(pixels)
    if size is not None and max(film.size) > size:
        film.thumbnail((size, size), Image.Resampling.BILINEAR)
    heat = np.maximum(activation_map.astype(np.float32), 0.0)
    peak = float(heat.max(initial=0.0)) if full_scale is None else full_scale
    if not np.isfinite(peak) or peak <= 0:
        return film.convert("RGB")
    smooth = Image.fromarray(heat / peak).resize(film.size, Image.Resampling.BICUBIC)
    level = np.clip(np.asarray(smooth), 0.0, 1.0)[..., None]
    position = level[..., 0] * (len(_RAMP) - 1)
    low = np.minimum(position.astype(int), len(_RAMP) - 2)
    colour = _RAMP[low] + (_RAMP[low + 1] - _RAMP[low]) * (position - low)[..., None]
    grey = np.asarray(film, np.float32)[..., None]
    blended = grey * (1 - _STRENGTH * level) + colour * (_STRENGTH * level)
    return Image.fromarray(blended.round().astype(np.uint8))


def captioned(picture: Image.Image, lines: list[str]) -> Image.Image:
    """Return the picture with lines of text below it, so that the picture explains itself.

    Parameters
    ----------
    picture : PIL.Image.Image
        RGB.
    lines : list of str
        Cut off at the picture's right edge if they are too long for it.

    Returns
    -------
    PIL.Image.Image
        RGB, higher than `picture` by the text.
    """
    size = max(10, picture.width // 45)
    font = ImageFont.load_default(size)
    step = round(size * 1.5)
    page = Image.new("RGB", (picture.width, picture.height + step * len(lines) + size // 2), "black")
    page.paste(picture, (0, 0))
    draw = ImageDraw.Draw(page)
    for i, line in enumerate(lines):
        draw.text((size // 2, picture.height + size // 4 + i * step), line, fill="white", font=font)
    return page
