"""Films that are missing are counted, and beyond a share refused, before any long work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.data.datasets import read_dataset
from xraytransfer.study.data.film_table import FilmTable
from xraytransfer.study.data.missing_films import count_absent, left_out_line
from xraytransfer.study.data.run_data import build_checked_cache


@pytest.fixture
def table(made_up_films: Path, tmp_path: Path) -> FilmTable:
    folder = tmp_path / "films"
    shutil.copytree(made_up_films, folder)
    table = read_dataset("nih", folder)
    return table.subset(np.arange(40))


def delete(table: FilmTable, count: int) -> None:
    for path in table.path[:count]:
        path.unlink()


def test_missing_films_are_said_and_refused_before_the_cache_is_built(table: FilmTable, tmp_path: Path):
    delete(table, 10)
    said: list[str] = []
    with pytest.raises(StudyError, match=r"25\.0 % of all films, while 1 % may be.*--allow-missing 0\.25"):
        build_checked_cache(tmp_path / "cache", table, (16, 16), "voi", warn=said.append)
    assert not (tmp_path / "cache").exists()
    assert said[0].startswith("10 of 40 films are missing (25.0 %), first ")
    cache = build_checked_cache(tmp_path / "cache", table, (16, 16), "voi", allow_missing=0.25)
    assert int(cache.done.sum()) == 30


def test_films_that_the_cache_holds_may_be_gone(table: FilmTable, tmp_path: Path):
    build_checked_cache(tmp_path / "cache", table, (16, 16), "voi")
    delete(table, 40)
    said: list[str] = []
    build_checked_cache(tmp_path / "cache", table, (16, 16), "voi", warn=said.append)
    assert not said


def test_unreadable_films_count_too(table: FilmTable, tmp_path: Path):
    for path in table.path[:5]:
        path.write_bytes(b"nothing")
    said: list[str] = []
    with pytest.raises(StudyError, match=r"12\.5 % of all films"):
        build_checked_cache(tmp_path / "cache", table, (16, 16), "voi", warn=said.append)
    assert said[0].startswith("5 of 40 films cannot be read")


def test_a_wrong_folder_is_noticed_at_once(table: FilmTable, tmp_path: Path):
    delete(table, 40)
    with pytest.raises(StudyError, match=r"none of 40 films from all over the table can be read.*no such file"):
        build_checked_cache(tmp_path / "cache", table, (16, 16), "voi")


def test_a_missing_split_is_noticed_in_a_large_table(table: FilmTable):
    table.official_split = np.where(np.arange(40) < 1, "test", "train")
    there = np.arange(40) > 0
    with pytest.raises(StudyError, match=r"100\.0 % of the test films"):
        count_absent(table, there).check(0.05)


def test_config_tells_what_was_left_out():
    data = {"name": "nih", "images": 1000, "refused": {"not-found": 3, "corrupt": 1}}
    assert left_out_line(data) == "4 of 1,000 films of nih are left out: 3 not-found, 1 corrupt"
    assert left_out_line({"name": "nih", "images": 5, "refused": {}}) == ""
    assert left_out_line({}) == ""
