"""Manifests: what is listed, in which order, and how an interrupted listing goes on."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from pathlib import Path

import pytest

from xraytransfer.archives import listing
from xraytransfer.archives.listing import list_films
from xraytransfer.archives.manifest import open_manifest, shard_bounds
from xraytransfer.archives.stores import Entry, open_store
from xraytransfer.errors import BusyError, OutputError, XrayTransferError
from xraytransfer.folder_lock import FolderLock
from xraytransfer.folder_owner import FolderOwner


def addresses(path: Path) -> list[str]:
    return [entry.address for entry in open_manifest(str(path)).read()]


def test_folders_are_listed_with_everything_below_them(films: Path, manifest: Path):
    (films / ".hidden").write_bytes(b"x")
    rows = list(open_manifest(str(manifest)).read())
    assert sorted(row.address for row in rows) == sorted(str(path) for path in films.rglob("*.png"))
    for row in rows:
        status = Path(row.address).stat()
        assert (row.size, row.version) == (status.st_size, str(status.st_mtime_ns))


def test_interrupted_listing_goes_on_and_ends_the_same(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listing, "ROWS_IN_GROUP", 5)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    list_films([str(films)], whole)

    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list_films([str(films)], broken, report=stop)
    assert not broken.exists()
    seen: list[int] = []
    list_films([str(films)], broken, report=seen.append)
    assert len(seen) == 2  # the first of three pieces was kept
    assert broken.read_bytes() == whole.read_bytes()
    assert not broken.with_name("broken.listing").exists()


@pytest.mark.parametrize("after", [(), ("a",), ("a", "b"), ("c",)])
def test_walk_goes_on_behind_every_folder(tmp_path: Path, after: tuple[str, ...]):
    for name in ("x", "a/x", "a/b/x", "a/b/c/x", "b/x", "c/x", "c/d/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    store = open_store(str(tmp_path))
    everything = [names for names, _ in listing._walk(store, (), None)]
    assert everything == sorted(everything)
    rest = [names for names, _ in listing._walk(store, (), after)]
    assert rest == [names for names in everything if names > after]


def test_walk_is_deeper_than_pythons_stack(tmp_path: Path):
    names = ("d",) * 400
    folder = tmp_path.joinpath(*names)
    folder.mkdir(parents=True)
    (folder / "x").write_bytes(b"")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 300)
    try:
        found = [names for names, _ in listing._walk(open_store(str(tmp_path)), (), None)]
    finally:
        sys.setrecursionlimit(limit)
    assert found == [names]


def test_unfinished_listing_of_other_sources_is_refused(films: Path, tmp_path: Path):
    output = tmp_path / "films.manifest"
    with pytest.raises(KeyboardInterrupt):
        list_films([str(films)], output, report=lambda rows: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(OutputError, match="unfinished listing"):
        list_films([str(films / "a")], output)


def test_films_listed_twice_are_refused(films: Path, tmp_path: Path):
    with pytest.raises(XrayTransferError, match="listed twice"):
        list_films([str(films), str(films / "a")], tmp_path / "m")


def test_film_with_a_relative_and_an_absolute_name_is_listed_twice(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(films)
    with pytest.raises(XrayTransferError, match="listed twice"):
        list_films(["film-000.png", str(films)], tmp_path / "m")
    list_films(["film-000.png"], tmp_path / "m")
    assert addresses(tmp_path / "m") == [str(films / "film-000.png")]


def test_listing_leaves_out_its_own_files(films: Path):
    before = sorted(map(str, films.rglob("*.png")))
    for _ in range(2):  # the second one finds the manifest of the first
        list_films([str(films)], films / "films.manifest")
        assert sorted(addresses(films / "films.manifest")) == before


def test_links_are_listed_as_what_they_lead_to(tmp_path: Path):
    folder = tmp_path / "films"
    (folder / "below").mkdir(parents=True)
    (folder / "film.png").write_bytes(b"12345")
    os.symlink(folder / "film.png", folder / "below" / "link.png")
    os.symlink(folder, folder / "below" / "loop")
    os.symlink(folder / "gone", folder / "nowhere.png")
    list_films([str(folder)], tmp_path / "m")
    found = {Path(row.address).name: row for row in open_manifest(str(tmp_path / "m")).read()}
    assert sorted(found) == ["film.png", "link.png", "nowhere.png"]
    link = open_store(found["link.png"].address).info()
    assert (found["link.png"].size, found["link.png"].version) == (link.size, link.version) != (None, None)
    assert found["nowhere.png"].size is None


def test_listing_of_one_film_goes_on_behind_it(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    film, output = str(films / "film-000.png"), tmp_path / "m"
    with monkeypatch.context() as patch:
        patch.setattr(listing, "_merge", full)
        with pytest.raises(OutputError, match=f"{output}: cannot be written: No space"):
            list_films([film], output)
    list_films([film], output)
    assert addresses(output) == [film]


def test_two_listings_of_one_manifest_do_not_meet(films: Path, tmp_path: Path):
    with FolderLock(tmp_path / "m.listing"), pytest.raises(BusyError, match="another process"):
        list_films([str(films)], tmp_path / "m")


def test_listing_that_ends_while_another_begins(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def remove(owner: FolderOwner) -> bool:
        shutil.rmtree(owner.path.parent)
        return owner.path.stat().st_size > 0

    monkeypatch.setattr(FolderOwner, "claim", remove)
    with pytest.raises(BusyError, match="another process has removed this folder"):
        list_films([str(films)], tmp_path / "m")


def test_names_that_look_like_addresses(tmp_path: Path):
    film = tmp_path / "films" / "a::b" / "film.png"
    film.parent.mkdir(parents=True)
    film.write_bytes(b"x")
    list_films([str(tmp_path / "films")], tmp_path / "m")
    assert addresses(tmp_path / "m") == [str(film)]
    assert open_store(str(film)).info().size == 1


def test_name_that_is_no_text_is_refused(tmp_path: Path):
    (tmp_path / "films").mkdir()
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "films") + b"/caf\xe9.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with pytest.raises(XrayTransferError, match=r"caf\\udce9.png: its name is not in UTF-8"):
        list_films([str(tmp_path / "films")], tmp_path / "m")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"size,address\n3\n", "line 2: no address"),
        (b"address,size\na,1\n ,2\n", "line 3: no address"),
        (b"address,size\na,-5\n", "line 2: size is '-5'"),
        (b"address\ncaf\xe9.png\n", "no CSV file in UTF-8"),
    ],
)
def test_rows_of_a_csv_that_name_no_film(tmp_path: Path, table: bytes, message: str):
    (tmp_path / "films.csv").write_bytes(table)
    with pytest.raises(XrayTransferError, match=message):
        list_films([str(tmp_path / "films.csv")], tmp_path / "m")


def test_csv_that_changed_is_not_gone_on_with(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listing, "ROWS_IN_GROUP", 5)
    monkeypatch.setattr(listing, "_PIECE", 5)
    paths, table = sorted(map(str, films.rglob("*.png"))), tmp_path / "films.csv"
    table.write_text("\n".join(["address", *paths, '""']))
    with pytest.raises(XrayTransferError, match="no address"):
        list_films([str(table)], tmp_path / "m")
    table.write_text("\n".join(["address", *paths[1:]]))
    with pytest.raises(XrayTransferError, match="has changed since its listing began"):
        list_films([str(table)], tmp_path / "m")


@pytest.mark.parametrize("source", ["nothing", "empty"])
def test_sources_without_films_are_refused(tmp_path: Path, source: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(XrayTransferError, match=r"no such file or folder|no films"):
        list_films([str(tmp_path / source)], tmp_path / "m")


def test_csv_of_addresses(films: Path, tmp_path: Path):
    paths = sorted(map(str, films.rglob("*.png")))
    (tmp_path / "films.csv").write_text("address,size\n" + "".join(f"{path},\n" for path in paths))
    list_films([str(tmp_path / "films.csv")], tmp_path / "m")
    assert list(open_manifest(str(tmp_path / "m")).read()) == [Entry(path, None, None) for path in paths]
    (tmp_path / "films.csv").write_text("path\nx\n")
    with pytest.raises(XrayTransferError, match="no column address"):
        list_films([str(tmp_path / "films.csv")], tmp_path / "m")


def test_manifests_that_cannot_be_read(manifest: Path, tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "short").write_bytes(manifest.read_bytes()[:-20])
    with pytest.raises(XrayTransferError, match="cut short"):
        open_manifest(str(tmp_path / "short"))
    pq.write_table(pa.table({"address": ["x"]}), tmp_path / "other")
    with pytest.raises(XrayTransferError, match="without a manifest's description"):
        open_manifest(str(tmp_path / "other"))
    newer = pa.table({"address": ["x"]}).replace_schema_metadata({b"xraytransfer_manifest": b'{"version": 2}'})
    pq.write_table(newer, tmp_path / "newer")
    with pytest.raises(XrayTransferError, match="version 2"):
        open_manifest(str(tmp_path / "newer"))
    with pytest.raises(XrayTransferError, match="no such file"):
        open_manifest(str(tmp_path / "absent"))


def test_no_changed_byte_of_a_manifest_changes_a_film(manifest: Path):
    data, whole = manifest.read_bytes(), list(open_manifest(str(manifest)).read())
    refused = []
    for place in range(0, len(data), 5):
        manifest.write_bytes(data[:place] + bytes([data[place] ^ 0x81]) + data[place + 1 :])
        try:
            assert list(open_manifest(str(manifest)).read()) == whole
        except XrayTransferError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert all(message.startswith(str(manifest)) for message in refused)


def test_shards_hold_every_row_once():
    for rows in (1, 7, 1000):
        for shards in (1, 3, 10):
            bounds = [shard_bounds(rows, shard, shards) for shard in range(1, shards + 1)]
            assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds)][:-1]
            assert bounds[-1][1] == rows


def test_rows_are_read_across_groups(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("xraytransfer.archives.manifest.ROWS_IN_GROUP", 3)
    list_films([str(films)], tmp_path / "m")
    manifest = open_manifest(str(tmp_path / "m"))
    rows = list(manifest.read())
    assert len(rows) == 20
    for start in range(0, 20, 3):
        for stop in range(start, 21, 4):
            assert list(manifest.read(start, stop)) == rows[start:stop]


def test_bucket_is_listed_like_a_folder(bucket: str, films: Path, tmp_path: Path):
    import s3fs

    s3fs.S3FileSystem().put(f"{films}/", "films/2024/", recursive=True)
    list_films([bucket], tmp_path / "m")
    rows = list(open_manifest(str(tmp_path / "m")).read())
    assert sorted(row.address for row in rows) == sorted(
        f"s3://films/2024/{path.relative_to(films)}" for path in films.rglob("*.png")
    )
    assert all(row.size and row.version for row in rows)
