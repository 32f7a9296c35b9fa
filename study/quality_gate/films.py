"""Films for the quality gate: good films, wrong films made of good ones, and pictures of other things.

Conventions
-----------
A picture is uint8, shape (rows, columns). Wrong films are made of the real films of one split; only pictures of other
things come from elsewhere. All kinds get the same changes of grey levels, sharpness, borders and markers, so that the
quality gate learns what is wrong with a film and not where it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError, StudyError
from xraytransfer.quality_gate import KINDS
from xraytransfer.radiograph import Film, read_radiograph
from xraytransfer.resize import resize
from xraytransfer.study.data.placement import FilmPixels
from xraytransfer.study.quality_gate.appearance import move, vary_appearance
from xraytransfer.study.quality_gate.faults import DRAWN_LATERAL, FAULTS, SIDE

__all__ = ["DrawnFilm", "FilmMaker", "read_others"]

KIND_SHARES = {
    "upright": 0.36,
    "turned-clockwise": 0.07,
    "turned-counterclockwise": 0.07,
    "upside-down": 0.07,
    "inverted": 0.09,
    "other": 0.34,
}
"""How often each kind is drawn in training."""
FURTHER_SHARE = 0.15
"""How many of the good films come from further sources, where there are any."""
LATERAL_SHARE = 0.3
"""How many films of kind ``other`` are side views: a side view that passes is worse than any other error."""
DRAWN_SHARE = 0.3
"""How many of the side views are drawn ones, where there are others."""
MIRRORED_SHARE = 0.3
"""How many good films are mirrored; the rest teach on which side the heart lies."""


class DrawnFilm(NamedTuple):
    """A film, and what the quality gate should say of it.

    Attributes
    ----------
    film : ndarray
        uint8, shape (side, side).
    target : ndarray
        float32, shape (kinds,), summing to 1: a film that is wrong in two ways has two halves.
    mirrored : float
        1 for a mirrored film, 0 for one that is not, NaN where that is not asked: of films that are not upright.
    """

    film: Film
    target: NDArray[np.float32]
    mirrored: float


@dataclass(eq=False)
class FilmMaker:
    """Makes films of each kind.

    Attributes
    ----------
    films : FilmPixels
        uint8, shape (films, rows, columns): real radiographs.
    rows : NDArray
        The rows of `films` that may be used.
    side : int
        Side of the films that `draw` returns, pixels.
    others : dict
        Kind of thing -> pictures of it, from `read_others`.
    frontals, laterals : list of ndarray
        Films of further sources (`sources`): frontal ones, and side views.
    left_out : str or None
        A fault, or a kind of thing, that is never drawn, to see whether the quality gate refuses what it never saw.
    """

    films: FilmPixels
    rows: NDArray[np.intp]
    side: int
    others: dict[str, list[Film]] = field(default_factory=dict)
    frontals: list[Film] = field(default_factory=list)
    laterals: list[Film] = field(default_factory=list)
    left_out: str | None = None

    @property
    def faults(self) -> list[str]:
        """The names that `faulty` knows: faults and kinds of other things."""
        return [name for name in (*FAULTS, *self.others) if name != self.left_out]

    def draw(self, generator: np.random.Generator, kind: str | None = None) -> DrawnFilm:
        """Return a film of a kind, or of a random kind (see `KIND_SHARES`), and what the quality gate should say."""
        names = list(KINDS)
        if kind is None:
            kind = names[generator.choice(len(names), p=[KIND_SHARES[name] for name in names])]
        target = np.zeros(len(names), np.float32)
        mirrored = np.nan
        if kind == "other":
            film = self._draw_other(generator)
        else:
            film, mirrored = self._draw_good(generator)
            if kind == "inverted":
                film = 255 - film
                if generator.random() < 0.15:
                    turn = names[1 + generator.integers(3)]
                    film = _turn(film, turn)
                    target[names.index(turn)] = 0.5
            elif kind != "upright":
                film = _turn(film, kind)
        target[names.index(kind)] = 1 - target.sum()
        return DrawnFilm(resize(film, (self.side, self.side)), target, mirrored if kind == "upright" else np.nan)

    def real(self, generator: np.random.Generator) -> Film:
        """Return a real film of the data set, unchanged."""
        film: Film = np.asarray(self.films[self.rows[generator.integers(len(self.rows))]])
        return film

    def upright(self, film: Film, generator: np.random.Generator) -> Film:
        """Return a film as another X-ray room might have taken it: it may still be scored."""
        film = move(film, generator, turn=12, zoom=(0.82, 1.22), shift=0.1)
        return vary_appearance(film, generator)

    def faulty(self, name: str, generator: np.random.Generator) -> Film:
        """Return a film with a fault, or a picture of another thing, by name."""
        if name == DRAWN_LATERAL:
            return self.lateral(FAULTS[name](self.real(generator), self.real, generator), generator)
        if name in FAULTS:
            film = FAULTS[name](self.real(generator), self.real, generator)
        else:
            pool = self.others[name]
            film = move(pool[generator.integers(len(pool))], generator, turn=180, zoom=(0.8, 2.0), shift=0.2)
            film = film if generator.random() < 0.7 else 255 - film
        return vary_appearance(film, generator)

    def lateral(self, film: Film, generator: np.random.Generator) -> Film:
        """Return a side view as another room might have taken it, from either side."""
        film = np.ascontiguousarray(film[:, :: int(generator.choice((-1, 1)))])
        film = move(film, generator, turn=15, zoom=(0.8, 1.45), shift=0.15)
        return vary_appearance(film, generator)

    def _draw_good(self, generator: np.random.Generator) -> tuple[Film, float]:
        """Return a good film, as `upright` changes it, and whether it was mirrored."""
        if self.frontals and generator.random() < FURTHER_SHARE:
            film = self.frontals[generator.integers(len(self.frontals))]
        else:
            film = self.real(generator)
        mirrored = generator.random() < MIRRORED_SHARE
        return self.upright(np.ascontiguousarray(film[:, ::-1]) if mirrored else film, generator), float(mirrored)

    def _draw_other(self, generator: np.random.Generator) -> Film:
        """Return a film of kind ``other``: a side view, a fault or another thing."""
        kinds = [name for name in self.faults if name != DRAWN_LATERAL]
        drawn = DRAWN_LATERAL in self.faults
        if (drawn or self.laterals) and generator.random() < LATERAL_SHARE:
            if self.laterals and not (drawn and generator.random() < DRAWN_SHARE):
                return self.lateral(self.laterals[generator.integers(len(self.laterals))], generator)
            return self.faulty(DRAWN_LATERAL, generator)
        return self.faulty(kinds[generator.integers(len(kinds))], generator)


def _turn(film: Film, kind: str) -> Film:
    quarters = {"turned-clockwise": 3, "upside-down": 2, "turned-counterclockwise": 1}[kind]
    return np.ascontiguousarray(np.rot90(film, quarters))


def read_others(folder: Path) -> dict[str, list[Film]]:
    """Read pictures of other things, ``folder/KIND/*``: DICOM, PNG or JPEG.

    Parameters
    ----------
    folder : Path
        One folder for each kind of thing, such as ``photograph`` or ``extremity``.

    Returns
    -------
    dict
        Kind -> pictures, uint8, `SIDE` pixels square, sorted by file name.

    Raises
    ------
    StudyError
        If the folder is absent, a kind has no pictures or the name of a fault, or a picture cannot be read.
    """
    kinds = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not kinds:
        raise StudyError(f"{folder}: expected one folder for each kind of thing, such as {folder / 'photograph'}")
    others: dict[str, list[Film]] = {}
    for kind in kinds:
        if kind.name in FAULTS or kind.name in KINDS:
            raise StudyError(f"{kind}: this name stands for films that are made; name the folder otherwise")
        names: Sequence[Path] = sorted(path for path in kind.iterdir() if path.is_file())
        if not names:
            raise StudyError(f"{kind}: holds no pictures")
        try:
            films = [resize(read_radiograph(path, any_modality=True).pixels, (SIDE, SIDE)) for path in names]
        except RadiographError as error:
            raise StudyError(f"a picture of {kind.name} cannot be read: {error}") from error
        others[kind.name] = films
    return others
