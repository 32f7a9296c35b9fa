"""The files of a film cache: what determines their content, and how they are mapped into memory.

The folder holds ``pixels.u8`` (images, rows, columns), ``state.u8`` (0 to do, 1 done, 2 refused), ``checksum.u32``
(CRC-32 of each picture), ``images.txt``, ``index.json`` and ``refused.csv``; of cropped films also ``extent.i32`` (see
`placement`).
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json
from xraytransfer.study.data.film_table import FilmTable
from xraytransfer.study.data.placement import stored_shape

__all__ = [
    "DONE",
    "FORMAT",
    "PENDING",
    "REFUSED",
    "CacheMaps",
    "Recipe",
    "cache_key",
    "film_checksum",
    "map_files",
    "read_index",
]

FORMAT = 1
PENDING, DONE, REFUSED = 0, 1, 2


class Recipe(NamedTuple):
    """What becomes of each film."""

    resolution: tuple[int, int]
    intensity: str
    placement: str

    @property
    def words(self) -> list[str]:
        """The recipe as names of folders have it; stretching is not named, because older caches do not."""
        placed = [] if self.placement == "stretch" else [self.placement]
        return [f"{self.resolution[0]}x{self.resolution[1]}", self.intensity, *placed]

    @property
    def files(self) -> dict[str, int]:
        """Bytes a film in each file of numbers."""
        rows, columns = stored_shape(self.resolution, self.placement)
        sizes = {"pixels.u8": rows * columns, "state.u8": 1, "checksum.u32": 4}
        return sizes if self.placement == "stretch" else {**sizes, "extent.i32": 4}


class CacheMaps(NamedTuple):
    """The files of numbers, mapped into memory; without a file, no film has an extent."""

    pixels: NDArray[np.uint8]
    state: NDArray[np.uint8]
    checksum: NDArray[np.uint32]
    extent: NDArray[np.int32]

    def flush(self) -> None:
        """Write what has changed."""
        for array in self:
            if isinstance(array, np.memmap):
                array.flush()


def cache_key(table: FilmTable, recipe: Recipe) -> str:
    """Return the checksum of what determines a cache's content, in hexadecimal."""
    text = "\n".join([str(FORMAT), table.name, *recipe.words, *table.image])
    return hashlib.sha256(text.encode()).hexdigest()


def read_index(path: Path) -> dict[str, Any]:
    """Read index.json; `StudyError` with the cure if it is damaged."""
    try:
        index = read_json(path)
    except StudyError as error:
        raise StudyError(f"{error}; delete the folder {path.parent}, it is rebuilt") from error
    if not isinstance(index, dict):
        raise StudyError(f"{path}: holds no JSON object; delete the folder {path.parent}, it is rebuilt")
    return index


def map_files(folder: Path, films: int, recipe: Recipe, mode: Literal["r", "r+"]) -> CacheMaps:
    """Map the files of numbers; `StudyError` if one is damaged."""
    shape = (films, *stored_shape(recipe.resolution, recipe.placement))
    try:
        pixels = np.memmap(folder / "pixels.u8", np.uint8, mode, shape=shape)
        state = np.memmap(folder / "state.u8", np.uint8, mode, shape=(films,))
        checksum = np.memmap(folder / "checksum.u32", np.uint32, mode, shape=(films,))
        extent: NDArray[np.int32] = np.zeros(films, np.int32)
        if "extent.i32" in recipe.files:
            extent = np.memmap(folder / "extent.i32", np.int32, mode, shape=(films,))
    except (OSError, ValueError) as error:
        raise StudyError(f"{folder}: the cache is damaged ({error}); delete the folder, it is rebuilt") from error
    for name, size in recipe.files.items():
        if (folder / name).stat().st_size != films * size:
            raise StudyError(f"{folder / name}: wrong size; delete the folder, it is rebuilt")
    return CacheMaps(pixels, state, checksum, extent)


def film_checksum(picture: NDArray[np.uint8], extent: int) -> int:
    """Return the CRC-32 of a picture, shape (rows, columns), and its extent."""
    return zlib.crc32(np.ascontiguousarray(picture).data, extent & 0xFFFFFFFF)
