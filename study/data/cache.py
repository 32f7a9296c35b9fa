"""The film cache: every film of a data set, read, resized and kept as uint8 in one memory-mapped file.

With the cache, training never waits for decoding: a memory map gives a hundred thousand small pictures a second, a
JPEG decoder two or three thousand (benchmarks/train_throughput.py). Films pass through the same `read_radiograph`
and `resize` as in prediction.

The name of the folder contains what determines its content: data set, resolution, intensity recipe, placement and a
checksum of the list of images. The folder holds ``pixels.u8`` (images, rows, columns), ``state.u8`` (0 to do, 1 done,
2 refused), ``checksum.u32`` (CRC-32 of each picture), ``images.txt``, ``index.json`` and ``refused.csv``; of cropped
films also ``extent.i32`` (see `placement`).
"""

from __future__ import annotations

import csv
import hashlib
import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError, StudyError
from xraytransfer.files import read_json, write_json, write_with
from xraytransfer.folder_lock import FolderLock
from xraytransfer.radiograph import read_radiograph
from xraytransfer.study.data.film_table import FilmTable
from xraytransfer.study.data.placement import CroppedFilms, FilmPixels, place_film, stored_shape

__all__ = ["FilmCache", "build_cache", "cache_bytes", "cache_folder", "cached_films", "open_cache"]

FORMAT = 1
PENDING, DONE, REFUSED = 0, 1, 2
VERIFY_BYTES = 4 << 30
"""Caches up to this size are checked whole on opening; of larger ones, a sample of this size is checked."""
CHUNK = 128
"""Films per task of a worker: at most a second of work, so that little is lost when the worker is killed."""

Progress = Callable[[int, int], None]


@dataclass(eq=False)
class FilmCache:
    """An open cache.

    Attributes
    ----------
    folder : Path
        Where it is.
    key : str
        Checksum of what determines its content.
    pixels : FilmPixels
        uint8, shape (images, rows, columns): a memory map, read-only, or the cropped films of one.
    done : NDArray
        bool, shape (images,): which films the cache holds.
    refused : dict
        Why each other image is absent, a slug of `xraytransfer.errors.REASONS`, by image.
    """

    folder: Path
    key: str
    pixels: FilmPixels
    done: NDArray[np.bool_]
    refused: dict[str, str]


class _Recipe(NamedTuple):
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


class _Maps(NamedTuple):
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


def _key(table: FilmTable, recipe: _Recipe) -> str:
    text = "\n".join([str(FORMAT), table.name, *recipe.words, *table.image])
    return hashlib.sha256(text.encode()).hexdigest()


def cache_folder(
    root: Path, table: FilmTable, resolution: tuple[int, int], intensity: str, placement: str = "stretch"
) -> Path:
    """Return the folder below `root` of a table's cache, whether it exists or not."""
    recipe = _Recipe(resolution, intensity, placement)
    return root / "-".join([table.name, *recipe.words, _key(table, recipe)[:12]])


def cache_bytes(films: int, resolution: tuple[int, int], placement: str = "stretch") -> int:
    """Return the size of a cache in bytes; of cropped films the greatest, because files may have holes."""
    return films * sum(_Recipe(resolution, "voi", placement).files.values())


def cached_films(folder: Path, films: int) -> NDArray[np.bool_]:
    """Return which films a cache folder holds, bool, shape (films,): none, if there is no such cache."""
    try:
        state = np.fromfile(folder / "state.u8", np.uint8)
    except OSError:
        state = np.empty(0, np.uint8)
    return state == DONE if len(state) == films else np.zeros(films, np.bool_)


def build_cache(
    root: Path,
    table: FilmTable,
    resolution: tuple[int, int],
    intensity: str = "voi",
    placement: str = "stretch",
    *,
    workers: int = 1,
    progress: Progress | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> FilmCache:
    """Return the cache of a table, after reading the films that are missing or damaged.

    Parameters
    ----------
    root : Path
        Folder of caches.
    table : FilmTable
        The films, in the order that the cache keeps.
    resolution : (int, int)
        Rows and columns.
    intensity : str
        Recipe; see `xraytransfer.reading.intensity`.
    placement : str
        ``stretch`` or ``crop``; see `xraytransfer.study.data.placement`.
    workers : int
        Number of processes that decode.
    progress : callable or None
        Called with the number of films done and the number of all films.
    warn : callable
        Is called with a line that counts damaged pictures, if there are any.

    Raises
    ------
    StudyError
        If the folder cannot be written, or belongs to another list of films.

    Notes
    -----
    A build that was killed continues at the next call. A film that is refused is listed in ``refused.csv`` and
    tried again at the next call. A picture whose checksum is wrong is read again.
    """
    recipe = _Recipe(resolution, intensity, placement)
    folder = cache_folder(root, table, *recipe)
    try:
        with FolderLock(folder, wait=True):
            _prepare(folder, table, recipe)
            if repaired := _repair(folder, len(table), recipe):
                warn(f"{folder}: {repaired} pictures were damaged and are read again")
            _fill(folder, table, recipe, workers, progress)
    except OSError as error:
        raise StudyError(f"{folder}: the cache cannot be written: {error.strerror or error}") from error
    return open_cache(folder, verify=False)


def _prepare(folder: Path, table: FilmTable, recipe: _Recipe) -> None:
    index = folder / "index.json"
    key = _key(table, recipe)
    if index.is_file():
        if _read_index(index).get("key") != key:
            raise StudyError(f"{folder}: holds another list of films; delete it")
        return
    for name, size in recipe.files.items():
        with (folder / name).open("wb") as file:
            file.truncate(len(table) * size)
    (folder / "images.txt").write_text("\n".join(table.image) + "\n", encoding="utf-8")
    content = {"data": table.name, "images": len(table), **recipe._asdict()}
    write_json(index, {"format": FORMAT, "key": key, **content})


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = read_json(path)
    except StudyError as error:
        raise StudyError(f"{error}; delete the folder {path.parent}, it is rebuilt") from error
    if not isinstance(index, dict):
        raise StudyError(f"{path}: holds no JSON object; delete the folder {path.parent}, it is rebuilt")
    return index


def _maps(folder: Path, films: int, recipe: _Recipe, mode: Literal["r", "r+"]) -> _Maps:
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
    return _Maps(pixels, state, checksum, extent)


def _checksum(picture: NDArray[np.uint8], extent: int) -> int:
    return zlib.crc32(np.ascontiguousarray(picture).data, extent & 0xFFFFFFFF)


def _wrong(maps: _Maps, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    bad = [row for row in rows if _checksum(maps.pixels[row], int(maps.extent[row])) != maps.checksum[row]]
    return np.array(bad, dtype=np.intp)


def _sample(state: NDArray[np.uint8], picture_bytes: int) -> NDArray[np.intp]:
    rows = np.flatnonzero(state == DONE)
    most = max(1, VERIFY_BYTES // picture_bytes)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng().choice(rows, most, replace=False))
    return rows


def _repair(folder: Path, films: int, recipe: _Recipe) -> int:
    """Mark damaged pictures as to be read again; return how many there are."""
    maps = _maps(folder, films, recipe, "r+")
    bad = _wrong(maps, _sample(maps.state, recipe.files["pixels.u8"]))
    if len(bad):
        # one damaged picture means that others may be damaged, so all are checked
        bad = _wrong(maps, np.flatnonzero(maps.state == DONE))
        maps.state[bad] = PENDING
        maps.flush()
    return len(bad)


def _fill(
    folder: Path,
    table: FilmTable,
    recipe: _Recipe,
    workers: int,
    progress: Progress | None,
) -> None:
    maps = _maps(folder, len(table), recipe, "r+")
    state, checksum = maps.state, maps.checksum
    todo = np.flatnonzero(state != DONE)
    finished = len(table) - len(todo)
    refused: list[tuple[str, str, str]] = []
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    tasks = ((folder, len(table), recipe, chunk, [table.path[row] for row in chunk]) for chunk in chunks)
    for chunk, results in zip(chunks, _results(tasks, workers if len(chunks) > 1 else 1), strict=True):
        for row, (crc, reason, message) in zip(chunk, results, strict=True):
            if reason:
                refused.append((str(table.image[row]), reason, message))
            checksum[row], state[row] = crc, REFUSED if reason else DONE
        finished += len(chunk)
        if progress is not None:
            progress(finished, len(table))
    if len(todo):
        write_with(folder / "refused.csv", lambda path: _write_refused(path, refused))


def _write_refused(path: Path, refused: list[tuple[str, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "reason", "message"), *refused])


Task = tuple[Path, int, _Recipe, NDArray[np.intp], list[Path]]
"""Folder, films of the whole cache, recipe, and the rows and paths of the films to read."""

ChunkResult = list[tuple[int, str, str]]
"""Checksum, reason and message of each film; reason and message are empty for a film that was read."""


def _results(tasks: Iterator[Task], workers: int) -> Iterator[ChunkResult]:
    if workers <= 1:
        yield from map(_read_chunk, tasks)
        return
    # spawned, because the parent may hold threads of torch, which do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield from pool.map(_read_chunk, tasks)


def _read_chunk(task: Task) -> ChunkResult:
    """Read some films into the cache."""
    folder, films, recipe, rows, paths = task
    maps = _maps(folder, films, recipe, "r+")
    results: ChunkResult = []
    for row, path in zip(rows, paths, strict=True):
        try:
            film = read_radiograph(path, intensity=recipe.intensity).pixels
            picture, extent = place_film(film, recipe.resolution, recipe.placement)
        except RadiographError as error:
            results.append((0, error.reason, error.message))
        else:
            maps.pixels[row] = picture
            if extent:
                maps.extent[row] = extent
            results.append((_checksum(picture, extent), "", ""))
    maps.flush()
    return results


def open_cache(folder: Path, *, verify: bool = True) -> FilmCache:
    """Open a finished cache.

    Raises
    ------
    StudyError
        If it is absent, damaged or not finished, or if a picture's checksum is wrong.
    """
    index = _read_index(folder / "index.json")
    try:
        films, rows, columns = int(index["images"]), *(int(side) for side in index["resolution"])
        key = str(index["key"])
        recipe = _Recipe((rows, columns), str(index["intensity"]), str(index.get("placement", "stretch")))
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(f"{folder}: index.json is damaged; delete the folder, it is rebuilt") from error
    maps = _maps(folder, films, recipe, "r")
    state = maps.state
    if (state == PENDING).any():
        raise StudyError(f"{folder}: {int((state == PENDING).sum())} films are still to be read; run study cache")
    if verify and len(bad := _wrong(maps, _sample(state, recipe.files["pixels.u8"]))):
        raise StudyError(f"{folder}: {len(bad)} pictures are damaged; run study cache, which reads them anew")
    refused = {}
    if (state == REFUSED).any() and (folder / "refused.csv").is_file():
        with (folder / "refused.csv").open(newline="", encoding="utf-8") as file:
            refused = {row["image"]: row["reason"] for row in csv.DictReader(file)}
    pixels = CroppedFilms(maps.pixels, maps.extent) if recipe.placement == "crop" else maps.pixels
    return FilmCache(folder, key, pixels, np.asarray(state == DONE), refused)


def default_root(results: Path) -> Path:
    """Return the default folder of caches: ``XRAYTRANSFER_CACHE``, else ``<results>/cache``."""
    return Path(os.environ.get("XRAYTRANSFER_CACHE") or results / "cache")
