from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from xraytransfer.errors import RadiographError, StudyError
from xraytransfer.radiograph import read_radiograph
from xraytransfer.resize import resize
from xraytransfer.study.data import cache as cache_module
from xraytransfer.study.data import same_films
from xraytransfer.study.data.cache import build_cache, cache_bytes, cache_folder, open_cache
from xraytransfer.study.data.datasets import read_dataset
from xraytransfer.study.data.film_table import FilmTable

SIZE = (32, 40)


@pytest.fixture
def table(made_up_films: Path) -> FilmTable:
    return read_dataset("nih", made_up_films).subset(np.arange(40))


def test_the_cache_holds_what_reading_and_resizing_give(tmp_path: Path, table: FilmTable):
    seen: list[tuple[int, int]] = []
    cache = build_cache(tmp_path, table, SIZE, progress=lambda done, films: seen.append((done, films)))
    assert cache.pixels.shape == (40, *SIZE)
    assert cache.done.all()
    for row in (0, 17, 39):
        np.testing.assert_array_equal(cache.pixels[row], resize(read_radiograph(table.path[row]).pixels, SIZE))
    assert seen[-1] == (40, 40)
    size = sum(path.stat().st_size for path in cache.folder.glob("*.u*"))
    assert size == cache_bytes(40, SIZE)
    with pytest.raises(ValueError, match="read-only"):
        cache.pixels[0] = 0


def test_processes_give_the_same(tmp_path: Path, table: FilmTable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache_module, "CHUNK", 16)
    one = build_cache(tmp_path / "one", table, SIZE)
    two = build_cache(tmp_path / "two", table, SIZE, workers=2)
    np.testing.assert_array_equal(one.pixels, two.pixels)


@pytest.mark.parametrize("placement", ["stretch", "crop"])
def test_other_films_of_the_same_names_are_noticed(
    tmp_path: Path, table: FilmTable, placement: str, monkeypatch: pytest.MonkeyPatch
):
    size = (32, 32)
    cache = build_cache(tmp_path, table, size, placement=placement)
    gone = replace(table, path=[tmp_path / "gone" / path.name for path in table.path])
    assert build_cache(tmp_path, gone, size, placement=placement).done.all()
    other = replace(table, path=[*table.path[1:], table.path[0]])
    with pytest.raises(StudyError, match="is another film than the cache"):
        build_cache(tmp_path, other, size, placement=placement)
    (damaged := tmp_path / "damaged.png").write_bytes(b"no picture")
    with pytest.raises(StudyError, match=r"damaged\.png.* the film was damaged or replaced since"):
        build_cache(tmp_path, replace(table, path=[damaged, *table.path[1:]]), size, placement=placement)
    with monkeypatch.context() as patch:  # a machine that may use the cache, and not look at the films
        unreadable = RadiographError("unreadable", "a.png: Permission denied")
        patch.setattr(same_films, "read_radiograph", Mock(side_effect=unreadable))
        build_cache(tmp_path, other, size, placement=placement)
    shutil.rmtree(cache.folder)
    again = build_cache(tmp_path, other, size, placement=placement)
    np.testing.assert_array_equal(again.pixels[0], cache.pixels[1])


def test_it_goes_on_where_it_was_killed(tmp_path: Path, table: FilmTable, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache_module, "CHUNK", 8)

    def die(done: int, films: int) -> None:
        if done == 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_cache(tmp_path, table, SIZE, progress=die)
    with pytest.raises(StudyError, match="16 films are still to be read"):
        open_cache(cache_folder(tmp_path, table, SIZE, "voi"))
    reads: list[Path] = []
    read = cache_module.read_radiograph
    monkeypatch.setattr(cache_module, "read_radiograph", lambda path, **kw: (reads.append(path), read(path, **kw))[1])
    assert build_cache(tmp_path, table, SIZE).done.all()
    assert reads == table.path[24:]
    reads.clear()
    build_cache(tmp_path, table, SIZE)
    assert not reads


def test_a_damaged_picture_is_found_and_read_anew(tmp_path: Path, table: FilmTable):
    cache = build_cache(tmp_path, table, SIZE)
    good = cache.pixels.copy()
    with (cache.folder / "pixels.u8").open("r+b") as file:
        file.seek(5 * SIZE[0] * SIZE[1] + 7)
        file.write(b"\x00\xff\x00")
    with pytest.raises(StudyError, match="1 pictures are damaged; run study cache"):
        open_cache(cache.folder)
    np.testing.assert_array_equal(build_cache(tmp_path, table, SIZE).pixels, good)
    open_cache(cache.folder)


def test_a_broken_and_a_missing_film_are_listed_and_tried_again(tmp_path: Path, made_up_films: Path):
    folder = tmp_path / "films"
    shutil.copytree(made_up_films, folder)
    table = read_dataset("nih", folder).subset(np.arange(10))
    good = table.path[3].read_bytes()
    table.path[3].write_bytes(good[: len(good) // 2])
    table.path[4].unlink()
    cache = build_cache(tmp_path, table, SIZE)
    assert cache.done.sum() == 8
    assert set(cache.refused) == {table.image[3], table.image[4]}
    assert cache.refused[str(table.image[4])] == "not-found"
    table.path[3].write_bytes(good)
    table.path[4].write_bytes(good)
    cache = build_cache(tmp_path, table, SIZE)
    assert cache.done.all()
    assert not cache.refused


def test_another_recipe_size_or_list_is_another_cache(tmp_path: Path, table: FilmTable):
    folders = {
        cache_folder(tmp_path, table, SIZE, "voi"),
        cache_folder(tmp_path, table, SIZE, "minmax"),
        cache_folder(tmp_path, table, (32, 32), "voi"),
        cache_folder(tmp_path, table.subset(np.arange(39)), SIZE, "voi"),
    }
    assert len(folders) == 4


def test_files_of_wrong_size_or_absent_are_refused(tmp_path: Path, table: FilmTable):
    folder = build_cache(tmp_path, table, SIZE).folder
    with (folder / "pixels.u8").open("ab") as file:
        file.write(b"more")
    with pytest.raises(StudyError, match="wrong size"):
        open_cache(folder)
    (folder / "pixels.u8").unlink()
    with pytest.raises(StudyError, match="the cache is damaged"):
        open_cache(folder)
    (folder / "index.json").write_text("{}")
    with pytest.raises(StudyError, match=r"index\.json is damaged"):
        open_cache(folder)
    with pytest.raises(StudyError, match="another list of films"):
        build_cache(tmp_path, table, SIZE)
