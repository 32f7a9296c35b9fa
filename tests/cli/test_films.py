"""Films as people have them: discs, exports, archives; and what is said of those that are refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from xraytransfer import load, read_radiograph
from xraytransfer.cli.film_list import films, is_no_film
from xraytransfer.errors import RadiographError
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.prediction import Refusal
from xraytransfer.quality_gate import QualityGateResult, find_all_faults

Film = Callable[..., bytes]
ROWS, COLUMNS = np.mgrid[0:64, 0:50]
PIXELS = (ROWS * 50 + COLUMNS).astype(np.uint16)


def predict(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xraytransfer", "predict", *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=folder, timeout=120,
    )  # fmt: skip


@pytest.fixture
def disc(tmp_path: Path, dicom_film: Film) -> Path:
    """A patient's disc: index, viewer, notes, one film."""
    folder = tmp_path / "disc"
    (folder / "PT000000" / "ST000000").mkdir(parents=True)
    (folder / "PT000000" / "ST000000" / "IM000000").write_bytes(dicom_film(PIXELS, BitsStored=12))
    patient, image = Dataset(), Dataset()
    patient.DirectoryRecordType = "PATIENT"
    image.DirectoryRecordType, image.ReferencedFileID = "IMAGE", ["PT000000", "ST000000", "IM000000"]
    index = Dataset()
    index.DirectoryRecordSequence = [patient, image]
    index.file_meta = FileMetaDataset()
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID, index.file_meta.TransferSyntaxUID = "1.2.3", ExplicitVRLittleEndian
    index.save_as(folder / "DICOMDIR", enforce_file_format=True)
    (folder / "README.TXT").write_text("start the viewer")
    (folder / "LOCKFILE").write_text("")
    (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (folder / "VIEWER").mkdir()
    (folder / "VIEWER" / "VIEWER.EXE").write_bytes(b"MZ" + bytes(60))
    return folder


def test_what_is_no_film_on_a_disc_is_counted(disc: Path, toy_model: Path, tmp_path: Path) -> None:
    result = predict(disc, "--model", toy_model, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "1 scored" not in result.stdout
    line = result.stderr.strip()
    assert line.startswith(f"passed over: 1 no chest radiograph by the header ({disc}/DICOMDIR), 4 of another format (")
    assert line.endswith(", ...)")
    assert line.count(str(disc)) == 4


def test_the_index_of_a_disc(disc: Path, toy_model: Path, tmp_path: Path) -> None:
    result = predict(disc / "DICOMDIR", "--model", toy_model, "--format", "jsonl", folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    (record,) = map(json.loads, result.stdout.splitlines())
    assert record["ok"]
    for folder, folders, files in os.walk(disc, topdown=False):  # copied to lower case
        for name in (*files, *folders):
            if name != "DICOMDIR":
                os.rename(os.path.join(folder, name), os.path.join(folder, name.lower()))
    assert predict(disc / "DICOMDIR", "--model", toy_model, folder=tmp_path).returncode == 0


def test_a_dicomdir_that_is_none(toy_model: Path, tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(b"nothing")
    result = predict("DICOMDIR", "--model", toy_model, folder=tmp_path)
    assert result.returncode == 3
    assert "name the folder instead" in result.stderr


def test_damaged_films_and_named_files_still_count(
    disc: Path, toy_model: Path, dicom_film: Film, tmp_path: Path
) -> None:
    (disc / "broken.dcm").write_bytes(dicom_film(PIXELS, BitsStored=12)[:1000])
    result = predict(disc, "--model", toy_model, folder=tmp_path)
    assert result.returncode == 1
    assert "refused (truncated-pixels)" in result.stderr
    named = predict(disc / "README.TXT", "--model", toy_model, folder=tmp_path)
    assert named.returncode == 1
    assert "refused (unsupported-format)" in named.stderr


def test_other_objects_beside_films(toy_model: Path, dicom_film: Film, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "film.dcm").write_bytes(dicom_film(PIXELS, BitsStored=12))
    for index in range(3):
        (folder / f"ct{index}.dcm").write_bytes(dicom_film(PIXELS, SOPClassUID="1.2.840.10008.5.1.4.1.1.2"))
    (folder / "cine.dcm").write_bytes(dicom_film(PIXELS, NumberOfFrames=40))
    result = predict(folder, "--model", toy_model, folder=tmp_path)
    assert result.returncode == 0
    names = ", ".join(f"{folder}/ct{index}.dcm" for index in range(3))
    assert (
        f"passed over: 1 of several frames ({folder}/cine.dcm), 3 no chest radiograph by the header ({names})\n"
        in result.stderr
    )


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def test_films_in_a_zip_archive(toy_model: Path, dicom_film: Film, tmp_path: Path) -> None:
    film = dicom_film(PIXELS, BitsStored=12)
    path = archive(tmp_path / "export.zip", {"b/film.dcm": film, "a.dcm": film, "readme.txt": b"x", ".hidden": b"x"})
    result = predict(path, "--model", toy_model, "--format", "jsonl", folder=tmp_path)
    assert result.returncode == 0
    assert [json.loads(line)["source"] for line in result.stdout.splitlines()] == [
        f"{path}/a.dcm",
        f"{path}/b/film.dcm",
    ]
    assert "passed over: 1 of another format" in result.stderr
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["export.zip"], "nothing is unpacked"
    inside = predict(tmp_path, "--model", toy_model, "--format", "jsonl", folder=tmp_path)
    assert len(inside.stdout.splitlines()) == 2


def test_names_in_an_archive_that_begin_with_a_dot(toy_model: Path, dicom_film: Film, tmp_path: Path) -> None:
    path = archive(tmp_path / "export.zip", {"./a.dcm": dicom_film(PIXELS, BitsStored=12)})
    assert predict(path, "--model", toy_model, folder=tmp_path).returncode == 0


def test_a_member_is_inflated_while_it_is_read(dicom_film: Film, tmp_path: Path) -> None:
    film = dicom_film(PIXELS, BitsStored=12)
    path = archive(tmp_path / "export.zip", {"a.dcm": film, "b.png": b"\x89PNG\r\n\x1a\n" + bytes(1 << 27), "c": film})
    tracemalloc.start()
    members = list(films([str(path)]))
    assert len(members) == 3, "counting them inflates none"
    with pytest.raises(RadiographError, match="larger than"):
        read_radiograph(members[1], max_pixels=1_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 112 << 20
    first = read_radiograph(members[0]).pixels
    members[0].seek(0)
    assert (read_radiograph(members[0]).pixels == first).all()
    members[0].seek(0)
    assert dcmread(members[0], stop_before_pixels=True).Rows == len(PIXELS)


def test_what_is_no_film_is_not_inflated(tmp_path: Path) -> None:
    path = archive(tmp_path / "export.zip", {"notes": b"x" * (40 << 20)})
    (member,) = films([str(path)])
    with pytest.raises(RadiographError, match="neither DICOM"):
        read_radiograph(member)
    assert member.tell() <= 16 << 20


def test_what_an_index_lists_counts_as_named(disc: Path, toy_model: Path, dicom_film: Film, tmp_path: Path) -> None:
    film = disc / "PT000000" / "ST000000" / "IM000000"
    film.write_bytes(dicom_film(PIXELS, SOPClassUID="1.2.840.10008.5.1.4.1.1.2"))
    listed = predict(disc / "DICOMDIR", "--model", toy_model, folder=tmp_path)
    assert (listed.returncode, "passed over" in listed.stderr) == (1, False)
    assert f"refused (not-a-radiograph): {film}" in listed.stderr
    film.unlink()
    missing = predict(disc / "DICOMDIR", "--model", toy_model, folder=tmp_path)
    assert missing.returncode == 1
    assert f"refused (not-found): {film}" in missing.stderr


def test_what_is_left_of_a_film_is_no_other_file(disc: Path, toy_model: Path, tmp_path: Path) -> None:
    (disc / "IM0001").write_bytes(b"")
    (disc / "IM0002").write_bytes(bytes(5000))
    result = predict(disc, "--model", toy_model, folder=tmp_path)
    assert result.returncode == 1
    assert result.stderr.count("refused (unsupported-format)") == 2


def test_a_damaged_dicomdir_is_one_line(disc: Path, toy_model: Path, tmp_path: Path) -> None:
    data = bytearray((disc / "DICOMDIR").read_bytes())
    data[-60:-30] = b"\xff" * 30
    (disc / "DICOMDIR").write_bytes(data)
    result = predict(disc / "DICOMDIR", "--model", toy_model, folder=tmp_path)
    assert "Traceback" not in result.stderr
    assert result.returncode in (0, 1, 3)


def test_a_damaged_archive_loses_no_other_film(toy_model: Path, dicom_film: Film, tmp_path: Path) -> None:
    film = dicom_film(PIXELS, BitsStored=12)
    folder = tmp_path / "in"
    folder.mkdir()
    path = archive(folder / "a.zip", {"one.dcm": film, "two.dcm": film})
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)  # inside of the first member
    path.write_bytes(data)
    (folder / "b.zip").write_bytes(b"PK\3\4" + bytes(100))
    (folder / "c.dcm").write_bytes(film)
    result = predict(folder, "--model", toy_model, "--format", "jsonl", folder=tmp_path)
    assert result.returncode == 1
    records = {Path(record["source"]).name: record for record in map(json.loads, result.stdout.splitlines())}
    assert {name: record["ok"] for name, record in records.items()} == {
        "one.dcm": False, "two.dcm": True, "b.zip": False, "c.dcm": True,
    }  # fmt: skip
    assert records["one.dcm"]["reason"] == "unreadable"
    assert (records["b.zip"]["reason"], records["b.zip"]["source"]) == ("unreadable", str(folder / "b.zip"))
    for name, cause in (("one.dcm", "invalid"), ("b.zip", "not a zip file")):
        assert "the zip archive is damaged or encrypted" in records[name]["message"]
        assert cause in records[name]["message"]


def test_an_archive_that_could_not_be_opened_is_refused_although_it_could_be_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one.dcm", b"film")
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZipFile", Mock(side_effect=OSError("Too many open files")))
        (member,) = films([str(path)])
    with pytest.raises(RadiographError, match="Too many open files"):
        read_radiograph(member)


def test_notes_stand_in_a_table_and_in_csv(toy_model: Path, dicom_film: Film, tmp_path: Path) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(dicom_film(PIXELS, BitsStored=12, SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1.1", Modality="DX"))
    assert "note: stored for processing" in predict(path, "--model", toy_model, folder=tmp_path).stdout
    (row,) = csv.DictReader(predict(path, "--model", toy_model, "--format", "csv", folder=tmp_path).stdout.splitlines())
    assert "stored for processing" in row["notes"]
    assert (row["window"], row["reduction"]) == ("min-max", "1")


def test_names_that_would_break_a_table(toy_model: Path, dicom_film: Film, tmp_path: Path) -> None:
    for name in (b"line\nbreak.dcm", b"no\xfftext.dcm"):
        (tmp_path / os.fsdecode(name)).write_bytes(dicom_film(PIXELS, BitsStored=12))
    result = predict(".", "--model", toy_model, folder=tmp_path)
    assert result.returncode == 0
    assert "line\\nbreak.dcm" in result.stdout
    assert "no\\udcfftext.dcm" in result.stdout


def test_a_refused_film_carries_its_record(gated_model: Path, dicom_film: Film, tmp_path: Path) -> None:
    bright = np.full((64, 50), 250, np.uint8)
    bright[::2, ::2] = 255
    data = dicom_film(bright, SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1.1", Modality="DX")
    classifier = load(gated_model, device="cpu")
    with pytest.raises(RadiographError) as caught:
        classifier.predict(data)
    assert caught.value.radiograph is not None
    assert caught.value.radiograph["window"] == "full-range"
    assert "stored for processing" in " ".join(caught.value.radiograph["notes"])
    assert caught.value.acceptance is not None
    assert not caught.value.acceptance["accepted"]
    path = tmp_path / "film.dcm"
    path.write_bytes(data)
    for form in ("json", "jsonl", "csv"):
        text = predict(path, "--model", gated_model, "--format", form, folder=tmp_path).stdout
        if form == "csv":
            (row,) = csv.DictReader(text.splitlines())
            assert row["window"] == "full-range"
            assert row["quality_gate_kind"] == "inverted"
            assert float(row["quality_gate_distance"]) >= 0
        else:
            record = json.loads(text)["results"][0] if form == "json" else json.loads(text)
            assert record["radiograph"]["window"] == "full-range"
            assert record["acceptance"]["kind_probability"]["inverted"] > 0.5


def test_a_result_near_its_threshold_says_so(toy_model: Path, toy_model_writer: Any, tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)).save(film)
    probability = load(toy_model, device="cpu").predict(film).probability.astype(float)
    points = [
        {"name": "youden", "observation": row.identifier, "threshold": float(p) + shift, "flip_width": 0.02}
        for row, p, shift in zip(OBSERVATIONS, probability, (0.01, -0.01, 0.03, -0.03, 0.03, 0.03), strict=True)
    ]
    del points[5]["flip_width"]
    near = tmp_path / "near.onnx"
    toy_model_writer(near, operating_points=points)
    record = json.loads(predict(film, "--model", near, "--format", "jsonl", folder=tmp_path).stdout)
    assert [row["near_threshold"] for row in record["observations"]] == [True, True, False, False, False, None]
    (row,) = csv.DictReader(predict(film, "--model", near, "--format", "csv", folder=tmp_path).stdout.splitlines())
    assert row["near_threshold"] == "atelectasis; cardiomegaly"
    table = predict(film, "--model", near, folder=tmp_path).stdout
    assert f"{probability[0]:.3f} ~" in table
    assert f"{probability[1]:.3f}*~" in table
    without = predict(film, "--model", toy_model, "--format", "csv", folder=tmp_path).stdout
    assert next(csv.DictReader(without.splitlines()))["near_threshold"] == ""
    assert "~" not in predict(film, "--model", toy_model, folder=tmp_path).stdout


def test_a_film_that_the_reader_refuses_says_how_far_it_came(dicom_film: Film) -> None:
    with pytest.raises(RadiographError) as caught:
        read_radiograph(dicom_film(PIXELS, BitsStored=12, Modality="CT", HighBit=None, Rows=400))
    record = caught.value.radiograph
    assert record is not None
    assert (record["source"], record["rows"], record["modality"]) == ("<bytes>", 400, "CT")
    assert "High Bit is absent: taken for 11" in record["notes"]


def result(kind: str, **other: float) -> QualityGateResult:
    from xraytransfer.quality_gate import KINDS

    accepted = kind == "upright"
    reason, text = KINDS[kind]
    return QualityGateResult(accepted, reason or None, text or None, {kind: 0.9, **other}, 1.0)


@pytest.mark.parametrize(
    ("kinds", "reason", "words"),
    [
        (("upside-down", "upright"), "upside-down", ["seems upside down"]),
        (
            ("upside-down", "inverted", "upright"),
            "upside-down",
            ["seems upside down", "then the grey levels seem inverted"],
        ),
        (("turned-clockwise", "other"), "not-accepted", ["does not look like one whole", "also if it is turned"]),
        (("inverted", "inverted"), "inverted", ["grey levels seem inverted"]),
    ],
)
def test_all_faults_of_a_film_are_named_at_once(kinds: tuple[str, ...], reason: str, words: list[str]) -> None:
    later = iter(kinds[1:])
    found = find_all_faults(result(kinds[0]), np.zeros((4, 6), np.uint8), lambda pixels: result(next(later)))
    assert found.reason == reason
    assert found.explanation is not None
    for word in words:
        assert word in found.explanation


def test_one_path_is_no_list_of_films(toy_model: Path) -> None:
    with pytest.raises(TypeError, match="pass a list of films"):
        load(toy_model, device="cpu").predict_many("film.dcm")


def test_a_film_smaller_than_the_models_input_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.fromarray((PIXELS >> 4).astype(np.uint8)).save(path)
    record = load("default", device="cpu").predict(path, any_film=True).radiograph
    assert any("enlarged from 50 x 64 pixels" in note for note in record["notes"])


def test_reduced_decoding_is_an_option(toy_model: Path, tmp_path: Path) -> None:
    level = (np.mgrid[0:2000, 0:1600][0] / 8).astype(np.uint8)
    Image.fromarray(level).save(tmp_path / "film.jpg", quality=95)
    records: dict[str, Any] = {}
    for decode in ("full", "reduced"):
        out = predict("film.jpg", "--model", toy_model, "--decode", decode, "--format", "jsonl", folder=tmp_path)
        records[decode] = json.loads(out.stdout)["radiograph"]
    assert records["full"]["reduction"] == 1
    assert records["reduced"]["reduction"] > 1
    overlay = predict("film.jpg", "--model", toy_model, "--decode", "reduced", "--overlay", "maps", "--format", "jsonl",
                      folder=tmp_path)  # fmt: skip
    assert json.loads(overlay.stdout)["radiograph"]["reduction"] == 1, "overlays have full resolution"
    with pytest.raises(ValueError, match="decode is 'half'"):
        load(toy_model, device="cpu").read(tmp_path / "film.jpg", decode="half")


def test_a_results_file_of_version_0_1_is_refused_by_name(toy_model: Path, dicom_film: Film, tmp_path: Path) -> None:
    from xraytransfer.cli.result_forms import COLUMNS_OF_0_1

    (tmp_path / "film.dcm").write_bytes(dicom_film(PIXELS, BitsStored=12))
    header = (
        "source,status,atelectasis,cardiomegaly,consolidation,edema,no_finding,pleural_effusion,atelectasis_decision,"
        "cardiomegaly_decision,consolidation_decision,edema_decision,no_finding_decision,pleural_effusion_decision,"
        "atelectasis_spread,cardiomegaly_spread,consolidation_spread,edema_spread,no_finding_spread,"
        "pleural_effusion_spread,view_position,provider,model,model_sha256,message"
    )
    line = (
        "a.dcm,ok,0.081471,0.000853,0.013275,0.001649,0.710634,0.021048,1,0,0,0,1,0,0.055942,0.005941,0.015898,"
        "0.001769,0.013482,0.009067,PA,CPUExecutionProvider,default 3,"
        "06ad8c0ca84db8685dccfc0a7f1b8c7774e292adb13018a2fb70b591f96e0b4c,"
    )
    assert header == ",".join(COLUMNS_OF_0_1)
    (tmp_path / "old.csv").write_text(f"{header}\n{line}\n")
    result = predict("film.dcm", "--model", toy_model, "-o", "old.csv", "--resume", folder=tmp_path)
    assert result.returncode == 3
    assert "was written by version 0.1" in result.stderr
    shutil.copy(tmp_path / "film.dcm", tmp_path / "other.dcm")


@pytest.mark.skipif(os.name == "nt", reason="paths are shorter there, and links need rights")
def test_folders_nested_deeper_than_pythons_stack_are_walked_and_links_are_not(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "circle").symlink_to(tmp_path)
    (tmp_path / "film.dcm").write_bytes(b"film")
    folder = os.open(tmp_path / "b", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("a", dir_fd=folder)
        below = os.open("a", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(os.open("last.dcm", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    try:
        found = list(films([str(tmp_path)]))
    finally:  # pytest's own clean-up is recursive
        subprocess.run(["rm", "-r", tmp_path / "b"], check=True)
    assert found == [f"{tmp_path}/film.dcm", f"{tmp_path}/self", f"{tmp_path}/b/{'a/' * 1200}last.dcm"]


@pytest.mark.skipif(os.name == "nt", reason="no pipes among files there")
@pytest.mark.timeout(60)
def test_pipes_in_a_folder_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("events", "films.zip"):
        os.mkfifo(tmp_path / name)
    found = list(films([str(tmp_path)]))
    assert found == [str(tmp_path / "events"), str(tmp_path / "films.zip")]
    refusals = [Refusal(path, "unsupported-format", "not a regular file") for path in found]
    assert [is_no_film(refusal, refusal.source, named=()) for refusal in refusals] == [True, False]
