"""The film cache: every film of a data set, read, resized and kept as uint8 in one memory-mapped file.

With the cache, training never waits for decoding: a memory map gives a hundred thousand small pictures a second, a
JPEG decoder two or three thousand (benchmarks/train_throughput.py). Films pass through the same `read_radiograph`
and `resize` as in prediction.

The name of the folder contains what determines its content: data set, resolution, intensity recipe, placement and a
checksum of the list of images. `cache_files` says what the folder holds.
"""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError, StudyError
from xraytransfer.files import write_json, write_with
from xraytransfer.folder_lock import FolderLock
from xraytransfer.radiograph import read_radiograph
from xraytransfer.study.data.cache_files import (
    DONE,
    FORMAT,
    PENDING,
    REFUSED,
    CacheMaps,
    Recipe,
    cache_key,
    film_checksum,
    map_files,
    read_index,
)
from xraytransfer.study.data.film_table import FilmTable
from xraytransfer.study.data.placement import CroppedFilms, FilmPixels, place_film
from xraytransfer.study.data.same_films import check_same_films

__all__ = ["FilmCache", "build_cache", "cache_bytes", "cache_folder", "cached_films", "open_cache"]

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


def cache_folder(
    root: Path, table: FilmTable, resolution: tuple[int, int], intensity: str, placement: str = "stretch"
) -> Path:
    """Return the folder below `root` of a table's cache, whether it exists or not."""
    recipe = Recipe(resolution, intensity, placement)
    return root / "-".join([table.name, *recipe.words, cache_key(table, recipe)[:12]])


def cache_bytes(films: int, resolution: tuple[int, int], placement: str = "stretch") -> int:
    """Return the size of a cache in bytes; of cropped films the greatest, because files may have holes."""
    return films * sum(Recipe(resolution, "voi", placement).files.values())


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
        If the folder cannot be written, belongs to another list of films, or holds other films of the same names.

    Notes
    -----
    A build that was killed continues at the next call. A film that is refused is listed in ``refused.csv`` and
    tried again at the next call. A picture whose checksum is wrong is read again.
    """
    recipe = Recipe(resolution, intensity, placement)
    folder = cache_folder(root, table, *recipe)
    try:
        with FolderLock(folder, wait=True):
            _prepare(folder, table, recipe)
            if repaired := _repair(folder, len(table), recipe):
                warn(f"{folder}: {repaired} pictures were damaged and are read again")
            check_same_films(folder, table, recipe)
            _fill(folder, table, recipe, workers, progress)
    except OSError as error:
        raise StudyError(f"{folder}: the cache cannot be written: {error.strerror or error}") from error
    return open_cache(folder, verify=False)


def _prepare(folder: Path, table: FilmTable, recipe: Recipe) -> None:
    index = folder / "index.json"
    key = cache_key(table, recipe)
    if index.is_file():
        if read_index(index).get("key") != key:
            raise StudyError(f"{folder}: holds another list of films; delete it")
        return
    for name, size in recipe.files.items():
        with (folder / name).open("wb") as file:
            file.truncate(len(table) * size)
    (folder / "images.txt").write_text("\n".join(table.image) + "\n", encoding="utf-8")
    content = {"data": table.name, "images": len(table), **recipe._asdict()}
    write_json(index, {"format": FORMAT, "key": key, **content})


def _wrong(maps: CacheMaps, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    bad = [row for row in rows if film_checksum(maps.pixels[row], int(maps.extent[row])) != maps.checksum[row]]
    return np.array(bad, dtype=np.intp)


def _sample(state: NDArray[np.uint8], picture_bytes: int) -> NDArray[np.intp]:
    rows = np.flatnonzero(state == DONE)
    most = max(1, VERIFY_BYTES // picture_bytes)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng().choice(rows, most, replace=False))
    return rows


def _repair(folder: Path, films: int, recipe: Recipe) -> int:
    """Mark damaged pictures as to be read again; return how many there are."""
    maps = map_files(folder, films, recipe, "r+")
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
    recipe: Recipe,
    workers: int,
    progress: Progress | None,
) -> None:
    maps = map_files(folder, len(table), recipe, "r+")
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


Task = tuple[Path, int, Recipe, NDArray[np.intp], list[Path]]
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
    maps = map_files(folder, films, recipe, "r+")
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
            results.append((film_checksum(picture, extent), "", ""))
    maps.flush()
    return results


def open_cache(folder: Path, *, verify: bool = True) -> FilmCache:
    """Open a finished cache.

    Raises
    ------
    StudyError
        If it is absent, damaged or not finished, or if a picture's checksum is wrong.
    """
    index = read_index(folder / "index.json")
    try:
        films, rows, columns = int(index["images"]), *(int(side) for side in index["resolution"])
        key = str(index["key"])
        recipe = Recipe((rows, columns), str(index["intensity"]), str(index.get("placement", "stretch")))
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(f"{folder}: index.json is damaged; delete the folder, it is rebuilt") from error
    maps = map_files(folder, films, recipe, "r")
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
