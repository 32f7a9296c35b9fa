"""Faults: wrong films, made of real ones or drawn, for the quality gate to learn from.

Conventions
-----------
A fault takes a real film (uint8, shape (rows, columns)), a function that returns another real film, and a random
generator. It returns a film, uint8, of any shape.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from xraytransfer.radiograph import Film
from xraytransfer.resize import resize
from xraytransfer.study.phantoms.drawing import SIGNS, Anatomy, draw_lateral

__all__ = ["DRAWN_LATERAL", "FAULTS", "SIDE"]

Another = Callable[[np.random.Generator], Film]
Fault = Callable[[Film, Another, np.random.Generator], Film]

SIDE = 128
"""Side of drawn films and of pictures of other things, pixels."""
LATERALS = 100
"""Number of drawn side views; each is changed anew whenever it is taken."""


def _crop(film: Film, another: Another, generator: np.random.Generator) -> Film:
    """Return a piece of a film, too small to be a chest."""
    share = generator.uniform(0.15, 0.45)
    rows, columns = (max(8, int(side * share)) for side in film.shape)
    top, left = generator.integers(film.shape[0] - rows), generator.integers(film.shape[1] - columns)
    piece = resize(np.ascontiguousarray(film[top : top + rows, left : left + columns]), (film.shape[0], film.shape[1]))
    return np.ascontiguousarray(np.rot90(piece, int(generator.integers(4))))


def _half_blank(film: Film, another: Another, generator: np.random.Generator) -> Film:
    """Return a film of which 40 to 75 percent is blank."""
    turns = int(generator.integers(4))
    blank = np.rot90(film, turns).copy()
    size = int(len(blank) * generator.uniform(0.4, 0.75))
    value = int(generator.choice((0, 255, int(film.mean()))))
    noise = generator.normal(0, generator.choice((0, 12)), blank[:size].shape)
    blank[:size] = np.clip(value + noise, 0, 255)
    # turned back, so that the chest is upright and only the blank part is wrong
    return np.ascontiguousarray(np.rot90(blank, -turns))


def _two_films(film: Film, another: Another, generator: np.random.Generator) -> Film:
    """Return two films in one frame, side by side or one above the other."""
    return np.concatenate([film, another(generator)], axis=int(generator.integers(2)))


def _tiny(film: Film, another: Another, generator: np.random.Generator) -> Film:
    """Return a small film on a large empty background."""
    ground = np.full_like(film, generator.choice((0, 0, 255, 128)))
    rows, columns = (max(8, int(side * generator.uniform(0.2, 0.45))) for side in film.shape)
    top, left = generator.integers(film.shape[0] - rows), generator.integers(film.shape[1] - columns)
    ground[top : top + rows, left : left + columns] = resize(film, (rows, columns))
    return ground


def _tilted(film: Film, another: Another, generator: np.random.Generator) -> Film:
    """Return a film tilted by 30 to 60 degrees, from any of four positions."""
    film = np.ascontiguousarray(np.rot90(film, int(generator.integers(4))))
    angle = generator.choice((-1, 1)) * generator.uniform(30, 60)
    return np.asarray(Image.fromarray(film).rotate(angle, Image.Resampling.BILINEAR, fillcolor=0))


def _shuffled(film: Film, another: Another, generator: np.random.Generator) -> Film:
    """Return a film cut into tiles that are in another order."""
    count = int(generator.integers(2, 5))
    rows, columns = (side // count for side in film.shape)
    tiles = [
        film[r * rows : (r + 1) * rows, c * columns : (c + 1) * columns] for r in range(count) for c in range(count)
    ]
    order = generator.permutation(len(tiles))
    while (order == np.arange(len(tiles))).all():
        order = generator.permutation(len(tiles))
    lines = [np.concatenate([tiles[i] for i in order[r * count : (r + 1) * count]], axis=1) for r in range(count)]
    return np.concatenate(lines, axis=0)


def _noise(film: Film, another: Another, generator: np.random.Generator) -> Film:
    """Return noise, from white to cloudy: its spectrum falls with a power of the frequency."""
    spectrum = np.fft.rfft2(generator.normal(0, 1, film.shape))
    y, x = np.fft.fftfreq(film.shape[0])[:, None], np.fft.rfftfreq(film.shape[1])[None]
    power = generator.uniform(0, 2.2)
    noise = np.fft.irfft2(spectrum / np.maximum(np.hypot(y, x), 1 / max(film.shape)) ** power, film.shape)
    noise = (noise - noise.mean()) / (noise.std() + 1e-9)
    cloud: Film = np.clip(128 + 55 * noise, 0, 255).astype(np.uint8)
    return cloud


def _shapes(film: Film, another: Another, generator: np.random.Generator) -> Film:
    """Return stripes, gradients, ellipses, boxes and text, as in screenshots, test pictures and documents."""
    rows, columns = film.shape
    y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
    wave = np.cos(2 * np.pi * (generator.uniform(-8, 8) * x + generator.uniform(-8, 8) * y))
    ramp = generator.uniform(-1, 1) * x + generator.uniform(-1, 1) * y
    ground = 128 + generator.choice((0, 60)) * wave + 100 * ramp
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(generator.integers(0, 8)):
        corner = generator.uniform(-0.1, 0.9, 2) * (columns, rows)
        size = generator.uniform(0.05, 0.6, 2) * (columns, rows)
        box = (*corner, *(corner + size))
        fill = int(generator.integers(256))
        what = generator.integers(4)
        if what == 0:
            pen.ellipse(box, fill=fill)
        elif what == 1:
            pen.rectangle(box, fill=fill)
        elif what == 2:
            pen.line(box, fill=fill, width=int(generator.integers(1, 6)))
        else:
            pen.multiline_text(tuple(corner), "\n".join(["radiology report"] * 6), fill=fill)
    return np.asarray(image)


def _saturated(film: Film, another: Another, generator: np.random.Generator) -> Film:
    """Return a film windowed so badly that most of it is black or white."""
    share = generator.uniform(0.78, 0.95)
    if generator.random() < 0.5:
        low, high = float(np.quantile(film, share)), 255.0
    else:
        low, high = 0.0, float(np.quantile(film, 1 - share))
    scaled = (film.astype(np.float32) - low) / max(high - low, 1.0)
    saturated: Film = np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return saturated


def _lateral(film: Film, another: Another, generator: np.random.Generator) -> Film:
    """Return a drawn side view, seen from either side."""
    lateral = _draw_laterals()[generator.integers(LATERALS)]
    return np.ascontiguousarray(lateral[:, :: int(generator.choice((-1, 1)))])


DRAWN_LATERAL = "drawn-lateral"
FAULTS: dict[str, Fault] = {
    "crop": _crop,
    "half-blank": _half_blank,
    "two-films": _two_films,
    "tiny": _tiny,
    "tilted": _tilted,
    "shuffled": _shuffled,
    "noise": _noise,
    "shapes": _shapes,
    "saturated": _saturated,
    DRAWN_LATERAL: _lateral,
}
"""Name of a fault -> the function that makes it."""


@functools.cache
def _draw_laterals() -> list[Film]:
    """Return drawn side views, uint8, `SIDE` pixels square; they are always the same."""
    generator = np.random.default_rng(0)
    films = []
    for _ in range(LATERALS):
        severity = {sign: float(generator.random() < 0.2) * float(generator.random()) for sign in SIGNS}
        films.append(draw_lateral(Anatomy.draw(generator), severity, generator, size=SIDE))
    return films
