"""The film cache: every film of a data set, read, resized and kept as uint8 in one memory-mapped file.

With the cache, training never waits for decoding: a memory map gives a hundred thousand small pictures a second, a
JPEG decoder two or three thousand (benchmarks/train_throughput.py). Films pass through the same `read_radiograph`
and `resize` as in prediction.

The name of the folder contains what determines its content: data set, resolution, intensity recipe and a checksum
of the list of images. The folder holds ``pixels.u8`` (images, rows, columns), ``state.u8`` (0 to do, 1 done, 2
refused), ``checksum.u32`` (CRC-32 of each picture), ``images.txt``, ``index.json`` and ``refused.csv``.
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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError, StudyError
from xraytransfer.files import read_json, write_json, write_with
from xraytransfer.folder_lock import FolderLock
from xraytransfer.radiograph import read_radiograph
from xraytransfer.resize import resize
from xraytransfer.study.data.film_table import FilmTable

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
    pixels : NDArray
        uint8 memory map, read-only, shape (images, rows, columns).
    done : NDArray
        bool, shape (images,): which films the cache holds.
    refused : dict
        Why each other image is absent, a slug of `xraytransfer.errors.REASONS`, by image.
    """

    folder: Path
    key: str
    pixels: NDArray[np.uint8]
    done: NDArray[np.bool_]
    refused: dict[str, str]


def _key(table: FilmTable, resolution: tuple[int, int], intensity: str) -> str:
    text = "\n".join([str(FORMAT), table.name, f"{resolution[0]}x{resolution[1]}", intensity, *table.image])
    return hashlib.sha256(text.encode()).hexdigest()


def cache_folder(root: Path, table: FilmTable, resolution: tuple[int, int], intensity: str) -> Path:
    """Return the folder below `root` of a table's cache, whether it exists or not."""
    key = _key(table, resolution, intensity)
    return root / f"{table.name}-{resolution[0]}x{resolution[1]}-{intensity}-{key[:12]}"


def cache_bytes(films: int, resolution: tuple[int, int]) -> int:
    """Return the size of a cache in bytes."""
    return films * (resolution[0] * resolution[1] + 5)


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
    folder = cache_folder(root, table, resolution, intensity)
    try:
        with FolderLock(folder, wait=True):
            _prepare(folder, table, resolution, intensity)
            if repaired := _repair(folder, len(table), resolution):
                warn(f"{folder}: {repaired} pictures were damaged and are read again")
            _fill(folder, table, (resolution, intensity), workers, progress)
    except OSError as error:
        raise StudyError(f"{folder}: the cache cannot be written: {error.strerror or error}") from error
    return open_cache(folder, verify=False)


def _prepare(folder: Path, table: FilmTable, resolution: tuple[int, int], intensity: str) -> None:
    index = folder / "index.json"
    key = _key(table, resolution, intensity)
    if index.is_file():
        if _read_index(index).get("key") != key:
            raise StudyError(f"{folder}: holds another list of films; delete it")
        return
    for name, size in (("pixels.u8", resolution[0] * resolution[1]), ("state.u8", 1), ("checksum.u32", 4)):
        with (folder / name).open("wb") as file:
            file.truncate(len(table) * size)
    (folder / "images.txt").write_text("\n".join(table.image) + "\n", encoding="utf-8")
    content = {"data": table.name, "images": len(table), "resolution": list(resolution), "intensity": intensity}
    write_json(index, {"format": FORMAT, "key": key, **content})


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = read_json(path)
    except StudyError as error:
        raise StudyError(f"{error}; delete the folder {path.parent}, it is rebuilt") from error
    if not isinstance(index, dict):
        raise StudyError(f"{path}: holds no JSON object; delete the folder {path.parent}, it is rebuilt")
    return index


def _maps(folder: Path, films: int, resolution: tuple[int, int], mode: str) -> tuple[np.memmap, np.memmap, np.memmap]:
    try:
        pixels = np.memmap(folder / "pixels.u8", np.uint8, mode, shape=(films, *resolution))  # type: ignore[call-overload]
        state = np.memmap(folder / "state.u8", np.uint8, mode, shape=(films,))  # type: ignore[call-overload]
        checksum = np.memmap(folder / "checksum.u32", np.uint32, mode, shape=(films,))  # type: ignore[call-overload]
    except (OSError, ValueError) as error:
        raise StudyError(f"{folder}: the cache is damaged ({error}); delete the folder, it is rebuilt") from error
    sizes = (films * resolution[0] * resolution[1], films, films * 4)
    for name, size in zip(("pixels.u8", "state.u8", "checksum.u32"), sizes, strict=True):
        if (folder / name).stat().st_size != size:
            raise StudyError(f"{folder / name}: wrong size; delete the folder, it is rebuilt")
    return pixels, state, checksum


def _wrong(pixels: NDArray[np.uint8], checksum: NDArray[np.uint32], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    bad = [row for row in rows if zlib.crc32(pixels[row].data) != checksum[row]]
    return np.array(bad, dtype=np.intp)


def _sample(state: NDArray[np.uint8], picture_bytes: int) -> NDArray[np.intp]:
    rows = np.flatnonzero(state == DONE)
    most = max(1, VERIFY_BYTES // picture_bytes)
    if len(rows) > most:
        rows = np.sort(np.random.default_rng().choice(rows, most, replace=False))
    return rows


def _repair(folder: Path, films: int, resolution: tuple[int, int]) -> int:
    """Mark damaged pictures as to be read again; return how many there are."""
    pixels, state, checksum = _maps(folder, films, resolution, "r+")
    bad = _wrong(pixels, checksum, _sample(state, resolution[0] * resolution[1]))
    if len(bad):
        # one damaged picture means that others may be damaged, so all are checked
        bad = _wrong(pixels, checksum, np.flatnonzero(state == DONE))
        state[bad] = PENDING
        state.flush()
    return len(bad)


def _fill(
    folder: Path,
    table: FilmTable,
    recipe: tuple[tuple[int, int], str],
    workers: int,
    progress: Progress | None,
) -> None:
    resolution, intensity = recipe
    _, state, checksum = _maps(folder, len(table), resolution, "r+")
    todo = np.flatnonzero(state != DONE)
    finished = len(table) - len(todo)
    refused: list[tuple[str, str, str]] = []
    chunks = [todo[start : start + CHUNK] for start in range(0, len(todo), CHUNK)]
    tasks = ((folder, len(table), resolution, intensity, chunk, [table.path[row] for row in chunk]) for chunk in chunks)
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


Task = tuple[Path, int, tuple[int, int], str, NDArray[np.intp], list[Path]]
"""Folder, films of the whole cache, resolution, intensity, and the rows and paths of the films to read."""

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
    folder, films, resolution, intensity, rows, paths = task
    pixels = np.memmap(folder / "pixels.u8", np.uint8, "r+", shape=(films, *resolution))
    results: ChunkResult = []
    for row, path in zip(rows, paths, strict=True):
        try:
            picture = resize(read_radiograph(path, intensity=intensity).pixels, resolution)
        except RadiographError as error:
            results.append((0, error.reason, error.message))
        else:
            pixels[row] = picture
            results.append((zlib.crc32(np.ascontiguousarray(picture).data), "", ""))
    pixels.flush()
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
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(f"{folder}: index.json is damaged; delete the folder, it is rebuilt") from error
    pixels, state, checksum = _maps(folder, films, (rows, columns), "r")
    if (state == PENDING).any():
        raise StudyError(f"{folder}: {int((state == PENDING).sum())} films are still to be read; run study cache")
    if verify and len(bad := _wrong(pixels, checksum, _sample(state, rows * columns))):
        raise StudyError(f"{folder}: {len(bad)} pictures are damaged; run study cache, which reads them anew")
    refused = {}
    if (state == REFUSED).any() and (folder / "refused.csv").is_file():
        with (folder / "refused.csv").open(newline="", encoding="utf-8") as file:
            refused = {row["image"]: row["reason"] for row in csv.DictReader(file)}
    return FilmCache(folder, key, pixels, np.asarray(state == DONE), refused)


def default_root(results: Path) -> Path:
    """Return the default folder of caches: ``XRAYTRANSFER_CACHE``, else ``<results>/cache``."""
    return Path(os.environ.get("XRAYTRANSFER_CACHE") or results / "cache")
