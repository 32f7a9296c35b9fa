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

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from xraytransfer.errors import RadiographError, StudyError
from xraytransfer.quality_gate import KINDS
from xraytransfer.radiograph import Film, read_radiograph
from xraytransfer.reading.intensity import equalise
from xraytransfer.resize import resize
from xraytransfer.study.data.placement import FilmPixels
from xraytransfer.study.quality_gate.faults import FAULTS, SIDE

__all__ = ["FilmMaker", "read_others"]

KIND_SHARES = {
    "upright": 0.40,
    "turned-clockwise": 0.08,
    "turned-counterclockwise": 0.08,
    "upside-down": 0.08,
    "inverted": 0.10,
    "other": 0.26,
}
"""How often each kind is drawn in training."""


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
    left_out : str or None
        A fault, or a kind of thing, that is never drawn, to see whether the quality gate refuses what it never saw.
    """

    films: FilmPixels
    rows: NDArray[np.intp]
    side: int
    others: dict[str, list[Film]] = field(default_factory=dict)
    left_out: str | None = None

    @property
    def faults(self) -> list[str]:
        """The names from which `draw` takes films of kind ``other``: faults and kinds of other things."""
        return [name for name in (*FAULTS, *self.others) if name != self.left_out]

    def draw(self, generator: np.random.Generator, kind: str | None = None) -> tuple[Film, NDArray[np.float32]]:
        """Return a film of a kind, or of a random kind (see `KIND_SHARES`), and its target.

        Returns
        -------
        film : NDArray
            uint8, shape (side, side).
        target : NDArray
            float32, shape (kinds,), summing to 1: a film that is wrong in two ways has two halves.
        """
        names = list(KINDS)
        if kind is None:
            kind = names[generator.choice(len(names), p=[KIND_SHARES[name] for name in names])]
        target = np.zeros(len(names), np.float32)
        if kind == "other":
            film = self.faulty(self.faults[generator.integers(len(self.faults))], generator)
        else:
            film = self.upright(self.real(generator), generator)
            if kind == "inverted":
                film = 255 - film
                if generator.random() < 0.15:
                    turn = names[1 + generator.integers(3)]
                    film = _turn(film, turn)
                    target[names.index(turn)] = 0.5
            elif kind != "upright":
                film = _turn(film, kind)
        target[names.index(kind)] = 1 - target.sum()
        return resize(film, (self.side, self.side)), target

    def real(self, generator: np.random.Generator) -> Film:
        """Return a real film, unchanged."""
        film: Film = np.asarray(self.films[self.rows[generator.integers(len(self.rows))]])
        return film

    def upright(self, film: Film, generator: np.random.Generator) -> Film:
        """Return a film as another X-ray room might have taken it: it may still be scored."""
        film = _move(film, generator, turn=12, zoom=(0.82, 1.22), shift=0.1)
        return self.vary_appearance(film, generator)

    def vary_appearance(self, film: Film, generator: np.random.Generator) -> Film:
        """Return a film with other grey levels, sharpness, borders and markers."""
        if generator.random() < 0.2:
            film = equalise(film)
        grey = film.astype(np.float32) / 255
        low, high = generator.uniform(0, 0.12), 1 - generator.uniform(0, 0.12)
        grey = np.clip((grey - low) / (high - low), 0, 1) ** np.exp(generator.uniform(-0.45, 0.45))
        grey = np.clip(0.5 + (grey - 0.5) * generator.uniform(0.65, 1.3) + generator.uniform(-0.1, 0.1), 0, 1)
        if generator.random() < 0.3:
            grey = np.clip(grey + generator.normal(0, generator.uniform(0.005, 0.03), grey.shape), 0, 1)
        film = np.rint(255 * grey).astype(np.uint8)
        if generator.random() < 0.4:
            small = tuple(max(24, int(side / generator.uniform(1.2, 2.5))) for side in film.shape)
            film = resize(resize(film, (small[0], small[1])), (film.shape[0], film.shape[1]))
        if generator.random() < 0.3:
            film = _add_marker(film, generator)
        if generator.random() < 0.25:
            film = _add_borders(film, generator)
        return film

    def faulty(self, name: str, generator: np.random.Generator) -> Film:
        """Return a film with a fault, or a picture of another thing, by name."""
        if name in FAULTS:
            film = FAULTS[name](self.real(generator), self.real, generator)
        else:
            pool = self.others[name]
            film = _move(pool[generator.integers(len(pool))], generator, turn=180, zoom=(0.8, 2.0), shift=0.2)
            film = film if generator.random() < 0.7 else 255 - film
        return self.vary_appearance(film, generator)


def _turn(film: Film, kind: str) -> Film:
    quarters = {"turned-clockwise": 3, "upside-down": 2, "turned-counterclockwise": 1}[kind]
    return np.ascontiguousarray(np.rot90(film, quarters))


def _move(film: Film, generator: np.random.Generator, *, turn: float, zoom: tuple[float, float], shift: float) -> Film:
    """Return a film turned, scaled and moved; what was outside the film is black, or as grey as its border."""
    rows, columns = film.shape
    angle = np.deg2rad(generator.uniform(-turn, turn))
    scale = generator.uniform(*zoom) * np.exp(generator.uniform(-0.08, 0.08, 2))
    move = generator.uniform(-shift, shift, 2) * (columns, rows)
    cosine, sine = np.cos(angle), np.sin(angle)
    # Pillow's matrix maps each pixel of the result to its origin
    matrix = np.array([[cosine / scale[0], sine / scale[0]], [-sine / scale[1], cosine / scale[1]]])
    centre = np.array([columns / 2, rows / 2])
    offset = centre - matrix @ (centre + move)
    data = (*matrix[0], offset[0], *matrix[1], offset[1])
    fill = 0 if generator.random() < 0.7 else int(film[[0, -1]].mean())
    image = Image.fromarray(film)
    moved = image.transform((columns, rows), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=fill)
    return np.asarray(moved)


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
