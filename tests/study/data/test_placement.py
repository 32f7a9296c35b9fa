"""Cropped films: what is kept of a film, and which square of it a network is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xraytransfer.errors import StudyError
from xraytransfer.radiograph import read_radiograph
from xraytransfer.resize import resize
from xraytransfer.study.data.cache import build_cache, cache_bytes, cache_folder, open_cache
from xraytransfer.study.data.datasets import read_dataset
from xraytransfer.study.data.placement import CroppedFilms, place_film, placement_of, training_pixels
from xraytransfer.study.training.presets import PRESETS

SIDE = (32, 32)
ROWS = np.arange(12)


@pytest.mark.parametrize("shape", [(96, 80), (80, 96), (64, 64), (32, 47), (300, 40), (33, 200)])
def test_a_film_is_cut_as_its_shorter_side_is_resized(shape: tuple[int, int]) -> None:
    film = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    stored, extent = place_film(film, SIDE, "crop")
    films = CroppedFilms(stored[None], np.array([extent], np.int32))
    shorter = min(shape)
    small = resize(film, (32 * shape[0] // shorter, 32 * shape[1] // shorter))
    top, left = (small.shape[0] - 32) // 2, (small.shape[1] - 32) // 2
    np.testing.assert_array_equal(films[0], small[top : top + 32, left : left + 32])
    np.testing.assert_array_equal(films[np.array([0])], films[0][None])
    if max(small.shape) <= 64:  # kept whole: the first and the last square are its ends
        ends = films.cut(np.array([0, 0]), np.array([0.0, 0.999999]))
        np.testing.assert_array_equal(ends[0], small[:32, :32])
        np.testing.assert_array_equal(ends[1], small[-32:, -32:])


def test_every_square_is_as_likely_and_the_seed_decides() -> None:
    stored, extent = place_film(np.arange(40, dtype=np.uint8)[None].repeat(32, axis=0), SIDE, "crop")
    films = CroppedFilms(stored[None], np.array([extent], np.int32))
    rows = np.zeros(9000, np.intp)
    squares = training_pixels(films, rows, seed=3)
    starts, counts = np.unique(squares[:, 0, 0], return_counts=True)
    assert starts.tolist() == list(range(9))  # 40 columns hold nine squares of 32
    assert abs(counts - 1000).max() < 150  # five standard deviations are 149
    np.testing.assert_array_equal(training_pixels(films, rows, seed=3), squares)
    assert (training_pixels(films, rows, seed=4) != squares).any()


def test_stretched_films_are_trained_on_as_they_are() -> None:
    films = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(training_pixels(films, ROWS, seed=1), films)


def test_a_cache_of_cropped_films(tmp_path: Path, made_up_films: Path) -> None:
    table = read_dataset("nih", made_up_films).subset(ROWS)
    cache = build_cache(tmp_path, table, SIDE, "voi", "crop")
    film = read_radiograph(table.path[5]).pixels  # 96 rows, 80 columns
    np.testing.assert_array_equal(cache.pixels[5], resize(film, (38, 32))[3:35])
    assert cache.pixels.shape == (12, 32, 32)
    files = ("pixels.u8", "state.u8", "checksum.u32", "extent.i32")
    assert sum((cache.folder / name).stat().st_size for name in files) == cache_bytes(12, SIDE, "crop")
    again = open_cache(cache.folder)
    np.testing.assert_array_equal(again.pixels[ROWS], cache.pixels[ROWS])
    assert cache.folder != cache_folder(tmp_path, table, SIDE, "voi")


@pytest.mark.parametrize("name", ["pixels.u8", "extent.i32"])
def test_damage_to_a_cache_of_cropped_films_is_repaired(tmp_path: Path, made_up_films: Path, name: str) -> None:
    table = read_dataset("nih", made_up_films).subset(ROWS)
    cache = build_cache(tmp_path, table, SIDE, "voi", "crop")
    good = cache.pixels[ROWS]
    with (cache.folder / name).open("r+b") as file:
        first = file.read(1)[0]
        file.seek(0)
        file.write(bytes([first ^ 255]))
    with pytest.raises(StudyError, match="1 pictures are damaged"):
        open_cache(cache.folder)
    said: list[str] = []
    np.testing.assert_array_equal(
        build_cache(tmp_path, table, SIDE, "voi", "crop", warn=said.append).pixels[ROWS], good
    )
    assert len(said) == 1


def test_configurations_of_before_stretch() -> None:
    assert placement_of({}) == placement_of({"preset": {"name": "tiny"}}) == "stretch"
    assert placement_of({"preset": PRESETS["paper"].to_dict()}) == "crop"
