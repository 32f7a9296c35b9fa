"""Shards: every film once, whatever fails; refusals that may pass; folders that hold something else."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from xraytransfer.archives import shards
from xraytransfer.archives.collection import collect, read_status
from xraytransfer.archives.listing import list_films
from xraytransfer.archives.manifest import open_manifest
from xraytransfer.archives.shards import Archive, ShardOptions, film_mark
from xraytransfer.archives.stores import Store, open_store
from xraytransfer.errors import OutputError, XrayTransferError

MakeArchive = Callable[..., Archive]


def rows_of(archive: Archive, output: Path, **options: Any) -> list[dict[str, Any]]:
    """Return the rows of an archive's collection."""
    import pyarrow.parquet as pq

    collect(archive.folder, output, manifest=archive.manifest, **options)
    rows: list[dict[str, Any]] = pq.read_table(output).to_pylist()
    return rows


def test_shards_give_what_predict_many_gives(make_archive: MakeArchive, tmp_path: Path):
    archive = make_archive(options=ShardOptions(keep_names=True))
    for shard in (2, 3, 1):
        assert archive.score(shard).state == "done"
    rows = rows_of(archive, tmp_path / "all.parquet")
    entries = list(archive.manifest.read())
    assert [row["film"] for row in rows] == [entry.address for entry in entries]
    for row, result in zip(rows, archive.classifier.predict_many([entry.address for entry in entries]), strict=True):
        assert row["status"] == "ok"
        assert row["atelectasis"] == float(result.probability[0])  # type: ignore[union-attr]


def test_shard_scored_twice_at_once_is_one_part(make_archive: MakeArchive, tmp_path: Path):
    alone = make_archive(str(tmp_path / "alone"))
    alone.score(1)
    both = make_archive()
    with ThreadPoolExecutor(2) as pool:
        states = [result.state for result in pool.map(both.score, [1, 1])]
    assert set(states) <= {"done", "there"}
    (part,) = read_status(both.folder).done.values()
    (expected,) = read_status(alone.folder).done.values()
    assert Path(part.address).read_bytes() == Path(expected.address).read_bytes()
    assert both.score(1).state == "there"


def test_parts_hold_no_addresses_unless_asked(make_archive: MakeArchive, films: Path, tmp_path: Path):
    name = films / "DOE^JANE.png"
    name.write_bytes(b"no film")
    list_films([str(films)], tmp_path / "films.manifest")
    archive = make_archive()
    for shard in (1, 2, 3):
        archive.score(shard)
    rows = rows_of(archive, tmp_path / "all.parquet")
    assert "DOE" not in str(rows)
    assert str(films) not in str(rows)
    (refused,) = [row for row in rows if row["status"] != "ok"]
    assert refused["film"] == film_mark(str(name))
    assert refused["message"]


def test_film_that_comes_back_is_scored(make_archive: MakeArchive, films: Path, tmp_path: Path):
    archive = make_archive()
    film = films / "a" / "film-001.png"
    data, status = film.read_bytes(), film.stat()
    film.unlink()
    results = [archive.score(shard) for shard in (1, 2, 3)]
    assert [result.passing for result in results].count(1) == 1
    with pytest.raises(OutputError, match="--retry-passing"):
        collect(archive.folder, tmp_path / "all.csv")
    assert len(rows_of(archive, tmp_path / "gaps.parquet", allow_gaps=True)) == 20
    (shard,) = read_status(archive.folder).pending
    assert archive.score(shard).state == "pending"
    film.write_bytes(data)
    os.utime(film, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert archive.score(shard, retry_passing=True).state == "done"
    assert [row["status"] for row in rows_of(archive, tmp_path / "all.parquet")] == ["ok"] * 20


def test_changed_film_is_not_scored_under_its_old_name(make_archive: MakeArchive, films: Path, tmp_path: Path):
    archive = make_archive()
    film = films / "b" / "film-002.png"
    film.write_bytes((films / "b" / "film-005.png").read_bytes())
    for shard in (1, 2, 3):
        archive.score(shard)
    statuses = [row["status"] for row in rows_of(archive, tmp_path / "gaps.parquet", allow_gaps=True)]
    assert sorted(statuses) == ["changed"] + ["ok"] * 19
    list_films([str(films)], tmp_path / "again.manifest")
    again = make_archive(str(tmp_path / "again"), manifest=tmp_path / "again.manifest")
    for shard in (1, 2, 3):
        again.score(shard)
    assert {row["status"] for row in rows_of(again, tmp_path / "again.parquet")} == {"ok"}


@pytest.mark.parametrize(
    "changes",
    [{"shards": 4}, {"options": ShardOptions(any_film=True)}, {"options": ShardOptions(keep_names=True)}],
    ids=["shards", "any-film", "names"],
)
def test_folder_of_other_results_is_refused(make_archive: MakeArchive, changes: dict[str, Any]):
    make_archive()
    with pytest.raises(OutputError, match="holds results of another"):
        make_archive(**changes)


def test_parts_of_another_model_are_refused(
    make_archive: MakeArchive, toy_model_writer: Callable[..., None], tmp_path: Path
):
    from xraytransfer.classifier import load

    toy_model_writer(tmp_path / "other.onnx", resolution=40)
    first = make_archive()
    other = load(tmp_path / "other.onnx", device="cpu", threads=1)
    with pytest.raises(OutputError, match="another model"):
        make_archive(classifier=other)
    elsewhere = make_archive(str(tmp_path / "elsewhere"), classifier=other)
    for shard in (1, 2, 3):
        first.score(shard)
        elsewhere.score(shard)
    stray = Path(read_status(elsewhere.folder).done[2].address)
    own = Path(read_status(first.folder).done[2].address)
    own.unlink()
    stray.rename(own.with_name(stray.name))
    with pytest.raises(OutputError, match="a part of another model"):
        collect(first.folder, tmp_path / "all.parquet")
    assert not (tmp_path / "all.parquet").exists()


def test_damaged_part_is_named(make_archive: MakeArchive, tmp_path: Path):
    archive = make_archive()
    for shard in (1, 2, 3):
        archive.score(shard)
    part = Path(read_status(archive.folder).done[3].address)
    part.write_bytes(part.read_bytes()[:-30])
    with pytest.raises(OutputError, match=part.name):
        collect(archive.folder, tmp_path / "all.parquet")


def test_no_changed_byte_of_a_part_changes_a_score(make_archive: MakeArchive, tmp_path: Path):
    archive, output = make_archive(), tmp_path / "all.csv"
    for shard in (1, 2, 3):
        archive.score(shard)
    collect(archive.folder, output)
    whole, part = output.read_text(), Path(read_status(archive.folder).done[2].address)
    data, refused = part.read_bytes(), list[str]()
    for place in range(0, len(data), 31):
        part.write_bytes(data[:place] + bytes([data[place] ^ 0x81]) + data[place + 1 :])
        try:
            collect(archive.folder, output)
        except OutputError as error:
            refused.append(str(error))
        else:
            assert output.read_text() == whole
    assert len(refused) > 100
    assert all(part.name in message for message in refused)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"format": 1}', '{"format": 1, "rows": 1, "shards": 0}', '{"format": 1, "rows": "x", "shards": 1}'],
)
def test_damaged_description_of_an_archive_is_named(make_archive: MakeArchive, text: str):
    archive = make_archive()
    archive.folder.below("archive.json").write_bytes(text.encode())
    with pytest.raises(OutputError, match=r"archive\.json: damaged"):
        read_status(archive.folder)


@pytest.mark.parametrize("shard", [0, 4, -1])
def test_shard_beyond_the_last_is_refused(make_archive: MakeArchive, shard: int):
    with pytest.raises(XrayTransferError, match="expected a number from 1 to 3"):
        make_archive().score(shard)


def test_bucket_that_denies_writing_is_found_before_any_film_is_read(
    make_archive: MakeArchive, bucket: str, monkeypatch: pytest.MonkeyPatch
):
    import s3fs

    async def deny(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    make_archive(f"{bucket}/scores")
    monkeypatch.setattr(s3fs.S3FileSystem, "_pipe_file", deny)
    s3fs.S3FileSystem.clear_instance_cache()
    for folder in ("scores", "elsewhere"):
        with pytest.raises(OutputError, match="Access Denied"):
            make_archive(f"{bucket}/{folder}")


def test_films_and_parts_in_a_bucket(make_archive: MakeArchive, bucket: str, films: Path, tmp_path: Path):
    import s3fs

    s3fs.S3FileSystem().put(f"{films}/", "films/in/", recursive=True)
    list_films([f"{bucket}/in"], tmp_path / "s3.manifest")
    archive = make_archive(f"{bucket}/scores", manifest=tmp_path / "s3.manifest")
    s3fs.S3FileSystem().rm("films/in/a/film-001.png")  # answers 404 from now on
    for shard in (1, 2, 3):
        archive.score(shard)
    rows = rows_of(archive, tmp_path / "all.parquet", allow_gaps=True)
    assert sorted(row["status"] for row in rows) == ["not-found"] + ["ok"] * 19
    local = make_archive(str(tmp_path / "local"))
    for shard in (1, 2, 3):
        local.score(shard)
    numbers = sorted(row["edema"] for row in rows if row["status"] == "ok")
    assert set(numbers) <= {row["edema"] for row in rows_of(local, tmp_path / "local.parquet")}


def test_store_that_fails_once_is_asked_again(
    make_archive: MakeArchive, bucket: str, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import s3fs

    s3fs.S3FileSystem().put(f"{films}/", "films/in/", recursive=True)
    list_films([f"{bucket}/in"], tmp_path / "s3.manifest")
    archive = make_archive(manifest=tmp_path / "s3.manifest")
    read, failures = Store.read_bytes, iter([True, True])

    def busy(store: Store) -> bytes:
        if next(failures, False):
            from botocore.exceptions import ClientError

            raise ClientError({"Error": {"Code": "503", "Message": "Slow Down"}}, "GetObject")
        return read(store)

    monkeypatch.setattr(Store, "read_bytes", busy)
    assert [archive.score(shard).state for shard in (1, 2, 3)] == ["done"] * 3


def test_store_that_is_down_ends_the_shard_and_writes_nothing(
    make_archive: MakeArchive, bucket: str, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import s3fs

    s3fs.S3FileSystem().put(f"{films}/", "films/in/", recursive=True)
    list_films([f"{bucket}/in"], tmp_path / "s3.manifest")
    archive = make_archive(manifest=tmp_path / "s3.manifest")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(shards, "STORE_IS_DOWN", 3)
    with pytest.raises(OutputError, match="try this shard again later"):
        archive.score(1)
    assert not read_status(archive.folder).done


def test_any_exception_of_a_source_refuses_that_film_alone(make_archive: MakeArchive, films: Path):
    class Broken:
        name = "broken"

        def read(self, size: int) -> bytes:
            raise RuntimeError("a library's own error")

    good = str(films / "film-000.png")
    results = list(make_archive().classifier.predict_many([good, Broken(), good]))  # type: ignore[list-item]
    assert [result.ok for result in results] == [True, False, True]
    assert results[1].reason == "unavailable"  # type: ignore[union-attr]


def test_status_needs_no_manifest(make_archive: MakeArchive):
    archive = make_archive()
    archive.score(2)
    status = read_status(open_store(archive.folder.address))
    assert (status.missing, status.films(status.done)) == ([1, 3], archive.films(2))


def test_manifest_is_compared_on_collecting(make_archive: MakeArchive, films: Path, tmp_path: Path):
    archive = make_archive()
    for shard in (1, 2, 3):
        archive.score(shard)
    (films / "film-000.png").touch()
    list_films([str(films)], tmp_path / "newer.manifest")
    with pytest.raises(OutputError, match="another manifest"):
        collect(archive.folder, tmp_path / "all.csv", manifest=open_manifest(str(tmp_path / "newer.manifest")))
