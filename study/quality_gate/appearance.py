"""How else a film may look and still be scored: other rooms, other machines, a letterbox, a photograph of a screen.

Conventions
-----------
Each function takes a film (uint8, shape (rows, columns)) and a random generator, and returns a film of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from xraytransfer.radiograph import Film
from xraytransfer.reading.intensity import equalise
from xraytransfer.resize import resize

__all__ = ["APPEARANCES", "move", "vary_appearance"]

Appearance = Callable[[Film, np.random.Generator], Film]


def move(film: Film, generator: np.random.Generator, *, turn: float, zoom: tuple[float, float], shift: float) -> Film:
    """Return a film turned, scaled and moved; what was outside the film is black, or as grey as its border.

    Parameters
    ----------
    film : Film
    generator : numpy.random.Generator
    turn : float
        The largest angle, degrees.
    zoom : tuple of float
        The smallest and largest scale.
    shift : float
        The largest shift, as a share of the film.
    """
    rows, columns = film.shape
    angle = np.deg2rad(generator.uniform(-turn, turn))
    scale = generator.uniform(*zoom) * np.exp(generator.uniform(-0.08, 0.08, 2))
    shifted = generator.uniform(-shift, shift, 2) * (columns, rows)
    cosine, sine = np.cos(angle), np.sin(angle)
    # Pillow's matrix maps each pixel of the result to its origin
    matrix = np.array([[cosine / scale[0], sine / scale[0]], [-sine / scale[1], cosine / scale[1]]])
    centre = np.array([columns / 2, rows / 2])
    offset = centre - matrix @ (centre + shifted)
    data = (*matrix[0], offset[0], *matrix[1], offset[1])
    fill = 0 if generator.random() < 0.7 else int(film[[0, -1]].mean())
    image = Image.fromarray(film)
    moved = image.transform((columns, rows), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=fill)
    return np.asarray(moved)


def vary_appearance(film: Film, generator: np.random.Generator) -> Film:
    """Return a film with other grey levels and sharpness, and with some of `APPEARANCES`."""
    if generator.random() < 0.2:
        film = equalise(film)
    film = _vary_grey_levels(film, generator)
    if generator.random() < 0.4:
        film = _soften(film, generator)
    for appearance, share in _SHARES.items():
        if generator.random() < share:
            film = APPEARANCES[appearance](film, generator)
    return film


def _vary_grey_levels(film: Film, generator: np.random.Generator) -> Film:
    """Return a film with another window, gamma, contrast, brightness and noise."""
    grey = film.astype(np.float32) / 255
    low, high = generator.uniform(0, 0.12), 1 - generator.uniform(0, 0.12)
    grey = np.clip((grey - low) / (high - low), 0, 1) ** np.exp(generator.uniform(-0.45, 0.45))
    grey = np.clip(0.5 + (grey - 0.5) * generator.uniform(0.5, 1.4) + generator.uniform(-0.12, 0.12), 0, 1)
    if generator.random() < 0.3:
        grey = np.clip(grey + generator.normal(0, generator.uniform(0.005, 0.03), grey.shape), 0, 1)
    return _to_film(255 * grey)


def _soften(film: Film, generator: np.random.Generator) -> Film:
    """Return a film as if it had been stored smaller."""
    small = tuple(max(24, int(side / generator.uniform(1.2, 2.5))) for side in film.shape)
    return resize(resize(film, (small[0], small[1])), (film.shape[0], film.shape[1]))


def _add_marker(film: Film, generator: np.random.Generator) -> Film:
    """Return a film with a burned-in marker near a corner."""
    image = Image.fromarray(film)
    rows, columns = film.shape
    left = generator.uniform(0.02, 0.12) if generator.random() < 0.5 else generator.uniform(0.75, 0.9)
    top = generator.uniform(0.02, 0.15) if generator.random() < 0.8 else generator.uniform(0.8, 0.92)
    text = ("L", "R", "AP", "PORTABLE", "SUPINE", "12:41")[generator.integers(6)]
    ImageDraw.Draw(image).text((left * columns, top * rows), text, fill=int(generator.choice((0, 255, 230))))
    return np.asarray(image)


def _add_borders(film: Film, generator: np.random.Generator) -> Film:
    """Return a film with black or white borders, as collimation leaves them."""
    framed: Film = film.copy()
    value = 0 if generator.random() < 0.8 else 255
    for axis in range(2):
        length = film.shape[axis]
        first, last = (int(length * max(0.0, generator.uniform(-0.06, 0.1))) for _ in range(2))
        view: Film = np.moveaxis(framed, axis, 0)
        view[:first] = value
        view[length - last :] = value
    return framed


def _letterbox(film: Film, generator: np.random.Generator) -> Film:
    """Return a film in a frame of another shape, as screens and data sets pad it."""
    ground = np.full_like(film, int(generator.choice((0, 0, 0, 255))))
    axis = int(generator.integers(2))
    size = list(film.shape)
    size[axis] = int(size[axis] * generator.uniform(0.68, 0.92))
    first = (film.shape[axis] - size[axis]) // 2
    view: Film = np.moveaxis(ground, axis, 0)
    view[first : first + size[axis]] = np.moveaxis(resize(film, (size[0], size[1])), axis, 0)
    return ground


def _lay_cables(film: Film, generator: np.random.Generator) -> Film:
    """Return a film with bright, bent lines and pads, as of a bedside monitor."""
    image = Image.fromarray(film)
    pen = ImageDraw.Draw(image)
    rows, columns = film.shape
    for _ in range(int(generator.integers(1, 5))):
        ends = generator.uniform(0, 1, (3, 2)) * (columns, rows)
        t = np.linspace(0, 1, 24)[:, None]
        curve = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * ends[1] + t**2 * ends[2]
        level = int(generator.uniform(180, 255))
        pen.line([tuple(point) for point in curve.tolist()], fill=level, width=int(generator.integers(1, 3)))
        if generator.random() < 0.5:
            x, y = ends[2]
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=level)
    return np.asarray(image)


def _age(film: Film, generator: np.random.Generator) -> Film:
    """Return a film as of an old archive: lit unevenly, faded, scratched."""
    rows, columns = film.shape
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    slope = generator.uniform(-35, 35, 2)
    faded = 128 + (film - 128.0) * generator.uniform(0.6, 0.95) + slope[0] * x + slope[1] * y
    image = Image.fromarray(_to_film(faded))
    pen = ImageDraw.Draw(image)
    for _ in range(int(generator.integers(0, 6))):
        column = generator.uniform(0, columns)
        pen.line((column, 0, column + generator.uniform(-5, 5), rows), fill=int(generator.uniform(150, 255)))
    return np.asarray(image)


def _photograph(film: Film, generator: np.random.Generator) -> Film:
    """Return a film photographed from a screen: seen at an angle, with moire, glare and a dark surrounding."""
    rows, columns = film.shape
    seen = _see_at_an_angle(film, generator).astype(np.float32)
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    frequency = generator.uniform(-40, 40, 2)
    bend = generator.uniform(-6, 6) * (x - 0.5) ** 2
    seen *= 1 + generator.uniform(0.01, 0.08) * np.cos(2 * np.pi * (frequency[0] * x + frequency[1] * y + bend))
    centre, width = generator.uniform(0, 1, 2), generator.uniform(0.1, 0.35)
    glare = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * width**2))
    return _to_film(seen + generator.uniform(0, 70) * glare)


def _see_at_an_angle(film: Film, generator: np.random.Generator) -> Film:
    """Return a film whose four corners have moved inwards by up to a tenth, each by itself."""
    rows, columns = film.shape
    corners = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], float)
    inwards = np.sign((columns / 2, rows / 2) - corners)
    seen = corners + inwards * generator.uniform(0, 0.1, (4, 2)) * (columns, rows)
    # the eight coefficients that Pillow wants map each corner of the result to its origin
    equations = np.zeros((8, 8))
    for i, ((x, y), (u, v)) in enumerate(zip(seen, corners, strict=True)):
        equations[2 * i] = (x, y, 1, 0, 0, 0, -u * x, -u * y)
        equations[2 * i + 1] = (0, 0, 0, x, y, 1, -v * x, -v * y)
    data = tuple(np.linalg.solve(equations, corners.ravel()))
    image = Image.fromarray(film)
    fill = int(generator.uniform(0, 60))
    flat = image.transform(
        (columns, rows), Image.Transform.PERSPECTIVE, data, Image.Resampling.BILINEAR, fillcolor=fill
    )
    return np.asarray(flat)


def _to_film(grey: NDArray[np.floating]) -> Film:
    film: Film = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
    return film


APPEARANCES: dict[str, Appearance] = {
    "marker": _add_marker,
    "borders": _add_borders,
    "letterboxed": _letterbox,
    "cables": _lay_cables,
    "old": _age,
    "photographed from a screen": _photograph,
}
"""Name -> what makes such a film of a good one; it may still be scored."""

_SHARES = {
    "marker": 0.3,
    "borders": 0.25,
    "letterboxed": 0.1,
    "cables": 0.15,
    "old": 0.1,
    "photographed from a screen": 0.1,
}
"""How often each is met in training."""
