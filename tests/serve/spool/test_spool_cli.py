"""`xraytransfer spool`: what waits is listed, redirected, given up and brought back."""

from __future__ import annotations

import json
import os
import time
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("highdicom")

from click.testing import CliRunner
from click.testing import Result as Ran
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian

from xraytransfer.cli.entry import cli, main
from xraytransfer.serve.dicom_results.results import Result
from xraytransfer.serve.spool.dead import dead_objects
from xraytransfer.serve.spool.spool import Spool

OLD, NEW = "PACS@10.0.0.5:104", "PACS@10.0.0.9:104"
NAME = "Muster^Erika"


def report(number: int) -> Result:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = Comprehensive3DSRStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"2.25.{number}"
    dataset.PatientName = NAME
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return Result(file.getvalue(), Comprehensive3DSRStorage, f"2.25.{number}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A spool where two results wait for OLD, and one film to be scored."""
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    spool.receive(b"film")
    film = spool.claim()
    assert film is not None
    spool.score(film, [report(1), report(2)], [OLD])
    spool.receive(b"another film")
    spool.close()
    return tmp_path / "spool"


def run(*arguments: object) -> Ran:
    ran = CliRunner().invoke(cli, ["spool", *map(str, arguments)], standalone_mode=True)
    assert NAME.partition("^")[0] not in ran.output
    return ran


def listed(folder: Path) -> dict:
    return json.loads(run("list", "--json", "--dicom-spool", folder).output)


def due(folder: Path, destination: str) -> list[str]:
    spool = Spool(folder, min_free_bytes=0)
    uids = [delivery.sop_instance_uid for delivery in spool.due(destination)]
    spool.close()
    return uids


def test_list(folder: Path) -> None:
    for path in (folder / "files").iterdir():
        os.utime(path, (time.time() - 7300, time.time() - 7300))
    assert run("list", "--dicom-spool", folder).output.splitlines() == [
        "1 film to be scored, the oldest since 2 hours",
        f"2 results for {OLD}, the oldest since 2 hours",
        "0 objects given up",
    ]
    found = listed(folder)
    assert found["films"] == 1
    assert 7200 < found["results"][OLD]["oldest_s"] < 7400
    assert found["dead"] == []


def test_redirect(folder: Path) -> None:
    spool = Spool(folder, min_free_bytes=0)
    spool.resend(report(2), NEW)  # waits there already
    spool.postpone(spool.due(OLD)[0], 3600)
    spool.close()
    ran = run("redirect", OLD, NEW, "--dicom-spool", folder)
    assert (ran.exit_code, ran.output) == (0, f"2 results redirected; start the server with --send-to {NEW}\n")
    assert due(folder, OLD) == []
    assert sorted(due(folder, NEW)) == ["2.25.1", "2.25.2"]


def test_bury_resend_and_clear(folder: Path) -> None:
    assert run("bury", OLD, "--dicom-spool", folder).exit_code == 0
    first, second = listed(folder)["dead"]
    assert (first["kind"], first["reason"], first["destination"]) == ("result", "given up by hand", OLD)
    assert due(folder, OLD) == []
    ran = run("resend", first["name"], "--to", NEW, "--dicom-spool", folder)
    assert ran.exit_code == 0
    assert len(due(folder, NEW)) == 1
    assert [entry["name"] for entry in listed(folder)["dead"]] == [second["name"]]
    assert run("clear", "--older-than", 1, "--dicom-spool", folder).output == "0 objects removed\n"
    assert run("clear", "--older-than", 0, "--dicom-spool", folder).output == "1 object removed\n"
    assert list((folder / "dead").iterdir()) == []


def test_one_result_refused_by_two_destinations_is_kept_for_both(folder: Path) -> None:
    spool = Spool(folder, min_free_bytes=0)
    film = spool.claim()
    assert film is not None
    spool.score(film, [report(3)], [NEW, "OTHER@127.0.0.1:104"])
    for destination in (NEW, "OTHER@127.0.0.1:104"):
        spool.bury_results(destination, "0xA900")
    spool.close()
    assert {entry["destination"] for entry in listed(folder)["dead"]} == {NEW, "OTHER@127.0.0.1:104"}
    assert run("resend", "--all", "--dicom-spool", folder).output.startswith("2 objects put back")
    assert due(folder, NEW) == due(folder, "OTHER@127.0.0.1:104") == ["2.25.3"]


def test_a_film_is_scored_again(folder: Path) -> None:
    spool = Spool(folder, min_free_bytes=0)
    film = spool.claim()
    assert film is not None
    spool.bury_film(film, "a test")
    spool.close()
    assert run("resend", "--all", "--dicom-spool", folder).exit_code == 0
    spool = Spool(folder, min_free_bytes=0)
    again = spool.claim()
    assert again is not None
    assert again.path.read_bytes() == b"another film"
    spool.close()


def test_a_damaged_result_stays_and_is_said(folder: Path) -> None:
    run("bury", OLD, "--dicom-spool", folder)
    entry = dead_objects(folder / "dead")[0]
    entry.file.write_bytes(b"damaged")
    ran = run("resend", "--all", "--dicom-spool", folder)
    assert f"{entry.name}: its file is damaged" in ran.output
    assert "1 object put back" in ran.output
    assert [left.name for left in dead_objects(folder / "dead")] == [entry.name]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["redirect", "X@y:1", NEW], f"nothing waits for X@y:1; results wait for {OLD}"),
        (["redirect", OLD, "nowhere"], "expected AETITLE@host:port"),
        (["redirect", OLD, OLD], "are the same"),
        (["bury", NEW], "nothing waits for"),
        (["resend"], "--all"),
        (["resend", "nobody"], "is called nobody"),
    ],
)
def test_wrong_usage(folder: Path, arguments: list[str], words: str) -> None:
    ran = run(*arguments, "--dicom-spool", folder)
    assert ran.exit_code == 2
    assert words in " ".join(ran.output.split())


@pytest.mark.parametrize("command", [["list"], ["bury", OLD], ["redirect", OLD, NEW], ["resend", "--all"]])
def test_a_spool_in_use_or_none_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    running = Spool(folder, min_free_bytes=0)
    for path, words in ((folder, "another process uses it; stop that server first"), (tmp_path, "is no spool")):
        with pytest.raises(SystemExit) as ended:
            main(["spool", *command, "--dicom-spool", str(path)])
        assert ended.value.code == 3
        assert words in capsys.readouterr().err
    running.close()
    assert len(due(folder, OLD)) == 2
