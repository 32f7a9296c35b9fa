"""Whether a cache holds the films that its table names now: the folder may be another one, or films were replaced."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xraytransfer.errors import PASSING, RadiographError, StudyError
from xraytransfer.radiograph import read_radiograph
from xraytransfer.study.data.cache_files import DONE, Recipe, map_files
from xraytransfer.study.data.film_table import FilmTable
from xraytransfer.study.data.placement import place_film

__all__ = ["check_same_films"]

LOOKS = 8
"""Films that are read again: less than a second, and enough for another folder, whose films all differ."""
ALLOWED = 8.0
"""Mean difference, in grey levels, of a film that another release of a decoder has read."""


def check_same_films(folder: Path, table: FilmTable, recipe: Recipe) -> None:
    """Read a few films from all over a cache again, and refuse a cache of other films with the same names.

    Parameters
    ----------
    folder : Path
        The cache.
    table : FilmTable
        The films; those that are not on the disk any more, or that this machine may not read, are passed over.
    recipe : Recipe
        What becomes of each film.

    Raises
    ------
    StudyError
        A film on the disk is another one than in the cache, or is damaged.
    """
    maps = map_files(folder, len(table), recipe, "r")
    done = np.flatnonzero(maps.state == DONE)
    for row in done[np.unique(np.linspace(0, len(done) - 1, min(LOOKS, len(done))).astype(np.intp))]:
        try:
            film = read_radiograph(table.path[row], intensity=recipe.intensity).pixels
            picture, extent = place_film(film, recipe.resolution, recipe.placement)
        except RadiographError as error:
            if error.reason in PASSING:  # this machine may use the cache, and not reach or read the films
                continue
            raise StudyError(
                f"{error}; but the cache {folder} holds a film that was read under this name: the film was damaged or "
                "replaced since. Put it back, or delete that folder, and the films are read again"
            ) from error
        difference = np.abs(picture.astype(np.int16) - maps.pixels[row]).mean()
        if extent != maps.extent[row] or difference > ALLOWED:
            raise StudyError(
                f"{table.path[row]}: is another film than the cache {folder} holds under this name: the films were "
                "replaced, or another data set has the same name and the same names of images. Delete that folder, "
                "and the films are read again; or take another --cache"
            )
