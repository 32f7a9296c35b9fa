"""How a film becomes a square picture: stretched whole, or resized by its shorter side and cropped.

Conventions
-----------
``stretch`` is what a model file does: the whole film is stretched to the resolution.
``crop`` is what the paper's lab does (stanfordmlgroup/MoCo-CXR): the shorter side is resized to the resolution with
the aspect ratio kept, and a square is cut out of the longer one, in the middle for evaluation and at random in
training. A cache therefore holds the longer side too, along the rows, up to `LONGEST` times the shorter; of a longer
film it holds the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from xraytransfer.resize import resize

__all__ = ["PLACEMENTS", "CroppedFilms", "FilmPixels", "place_film", "placement_of", "stored_shape", "training_pixels"]

PLACEMENTS = ("stretch", "crop")
LONGEST = 2
"""How many times longer than its shorter side a film may be and still be kept whole."""


def placement_of(config: Mapping[str, Any]) -> str:
    """Return the placement that a run's configuration names; ``stretch`` where it names none."""
    return str((config.get("preset") or {}).get("placement", "stretch"))


def stored_shape(resolution: tuple[int, int], placement: str) -> tuple[int, int]:
    """Return rows and columns that a cache keeps for each film.

    Raises
    ------
    ValueError
        The placement is ``crop`` and the resolution no square.
    """
    if placement == "stretch":
        return resolution
    side = resolution[0]
    if resolution != (side, side):
        raise ValueError(f"placement crop needs a square resolution, got {resolution}")
    return LONGEST * side, side


def place_film(pixels: NDArray[np.uint8], resolution: tuple[int, int], placement: str) -> tuple[NDArray[np.uint8], int]:
    """Return a film as a cache keeps it, and its extent.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (rows, columns)
        A film of any size.
    resolution : (int, int)
        Rows and columns of a picture for the network.
    placement : str
        One of `PLACEMENTS`.

    Returns
    -------
    tuple
        uint8, shape `stored_shape`, and the extent: 0 for a stretched film. Otherwise the number of rows that a
        cropped film fills, negative where they are the columns of a film that is wider than high; the rest is 0.
    """
    if placement == "stretch":
        return resize(pixels, resolution), 0
    side = resolution[0]
    rows, columns = pixels.shape
    shorter = min(rows, columns)
    small = resize(pixels, (side * rows // shorter, side * columns // shorter))
    wide = columns > rows
    upright = small.T if wide else small
    longest = LONGEST * side
    start = max(0, len(upright) - longest) // 2
    kept = upright[start : start + longest]
    stored = np.zeros((longest, side), np.uint8)
    stored[: len(kept)] = kept
    return stored, -len(kept) if wide else len(kept)


class CroppedFilms:
    """Films of placement ``crop`` as pictures: an array of their central squares, which can be cut elsewhere too.

    Parameters
    ----------
    stored : ndarray
        uint8, shape (films, `LONGEST` * side, side): from `place_film`.
    extent : ndarray
        int32, shape (films,): from `place_film`.
    """

    def __init__(self, stored: NDArray[np.uint8], extent: NDArray[np.int32]) -> None:
        self.stored, self.extent = stored, extent
        self.shape = (len(stored), stored.shape[2], stored.shape[2])

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, rows: Any) -> NDArray[np.uint8]:
        """Return the central square of one film, shape (side, side), or of several, shape (films, side, side)."""
        if np.ndim(rows) == 0 and not isinstance(rows, slice):
            return self._square(int(rows))
        return self.cut(np.arange(len(self))[rows])

    def cut(self, rows: NDArray[np.intp], position: NDArray[np.float64] | None = None) -> NDArray[np.uint8]:
        """Return a square of each film.

        Parameters
        ----------
        rows : ndarray
            Which films.
        position : ndarray, optional
            float64, shape (films,): where along the longer side, 0 for its start and 1 for its end; the middle where
            absent.

        Returns
        -------
        ndarray
            uint8, shape (films, side, side).
        """
        places = [None] * len(rows) if position is None else position.tolist()
        squares = [self._square(int(row), place) for row, place in zip(rows, places, strict=True)]
        return np.stack(squares) if squares else np.zeros((0, *self.shape[1:]), np.uint8)

    def _square(self, row: int, position: float | None = None) -> NDArray[np.uint8]:
        side, extent = self.shape[1], int(self.extent[row])
        spare = abs(extent) - side
        # a square may start at each spare pixel, or after the last; each start is as likely as the others
        start = spare // 2 if position is None else min(int(position * (spare + 1)), spare)
        square: NDArray[np.uint8] = self.stored[row, start : start + side]
        return square.T if extent < 0 else square


FilmPixels: TypeAlias = NDArray[np.uint8] | CroppedFilms
"""Pictures that rows can be taken from: uint8, shape (films, rows, columns)."""


def training_pixels(pixels: FilmPixels, rows: NDArray[np.intp], seed: int) -> NDArray[np.uint8]:
    """Return pictures to train on: of cropped films a square anywhere along the longer side.

    Parameters
    ----------
    pixels : FilmPixels
        The films.
    rows : ndarray
        Which of them.
    seed : int
        Decides where the squares are: the same step always has the same.
    """
    if isinstance(pixels, CroppedFilms):
        return pixels.cut(rows, np.random.default_rng([seed, 1]).random(len(rows)))
    chosen: NDArray[np.uint8] = pixels[rows]
    return chosen
