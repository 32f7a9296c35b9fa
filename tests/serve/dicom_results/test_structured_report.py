"""The structured report: what is in it, that it is valid, and that a repeat is the same object."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom")

import highdicom as hd
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.uid import UID, Comprehensive3DSRStorage

from results import MODEL, make_film, make_prediction
from xraytransfer.constants import NOT_INTENDED_USE, RESEARCH_NOTICE
from xraytransfer.errors import OutputError, ServeError
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.quality_gate import QualityGateResult
from xraytransfer.reading.patient import ANIMAL, UNDER_18
from xraytransfer.serve.dicom_results import uids
from xraytransfer.serve.dicom_results.identity import UNKNOWN_MOMENT, identify
from xraytransfer.serve.dicom_results.results import ResultFolders, encode, write_results
from xraytransfer.serve.dicom_results.structured_report import COMMENT, REPORT_NAMES_A_FINDING, structured_report


def reread(dataset: Dataset) -> Dataset:
    return dcmread(BytesIO(encode(dataset)))


def children(item: Dataset, meaning: str) -> list[Dataset]:
    return [child for child in item.ContentSequence if child.ConceptNameCodeSequence[0].CodeMeaning == meaning]


@pytest.fixture(scope="module")
def report() -> Dataset:
    return reread(structured_report(make_film(), make_prediction()))


def groups(report: Dataset) -> list[Dataset]:
    (measurements,) = children(report, "Imaging Measurements")
    return children(measurements, "Measurement Group")


def test_highdicom_reads_it_back(report: Dataset) -> None:
    read = hd.sr.Comprehensive3DSR.from_dataset(report)
    found = read.content.get_image_measurement_groups()
    assert [group.finding_type.meaning for group in found] == [row.code.meaning for row in OBSERVATIONS]
    prediction = make_prediction()
    for i, group in enumerate(found):
        (probability,) = group.get_measurements(name=codes.DCM.Probability)
        assert probability.value == pytest.approx(float(prediction.probability[i]), abs=5e-5)
        assert probability.unit == codes.UCUM.NoUnits
        decisions = group.get_qualitative_evaluations(name=codes.DCM.PresenceOfProperty)
        expected = {None: [], True: [codes.SCT.Present], False: [codes.SCT.Absent]}[prediction.decision[i]]
        assert [decision.value for decision in decisions] == expected


def test_root_and_flags(report: Dataset) -> None:
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.CompletionFlag, report.VerificationFlag, report.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    assert report.ConceptNameCodeSequence[0].CodeValue == "126000"
    (procedure,) = children(report, "Procedure reported")
    assert procedure.ConceptCodeSequence[0].CodeValue == "399208008"
    assert "not for diagnosis" in report.SeriesDescription
    (comment,) = children(report, "Comment")
    assert comment.TextValue == COMMENT
    assert RESEARCH_NOTICE in COMMENT


def test_a_film_that_was_refused_and_scored_all_the_same_is_told_from_others() -> None:
    refused = QualityGateResult(False, "sideways", "it lies on its side", {"upright": 0.1, "sideways": 0.9}, 1.0)
    report = reread(structured_report(make_film(), make_prediction(acceptance=refused)))
    (comment,) = children(report, "Comment")
    assert comment.TextValue.startswith("The model's quality gate refused this film (sideways)")
    assert comment.TextValue.endswith(COMMENT)
    told = {child.TextValue for child in children(groups(report)[0], "Algorithm Parameters")}
    assert "film=sideways" in told
    accepted = QualityGateResult(True, None, None, {"upright": 1.0}, 1.0)
    report = reread(structured_report(make_film(), make_prediction(acceptance=accepted)))
    assert children(report, "Comment")[0].TextValue == COMMENT
    assert "film=accepted" in {child.TextValue for child in children(groups(report)[0], "Algorithm Parameters")}


@pytest.mark.parametrize(("threshold", "answer"), [(0.0, codes.SCT.No), (1.0, codes.SCT.Yes)])
def test_no_finding_is_told_without_a_double_negative(threshold: float, answer: Any) -> None:
    position = [row.identifier for row in OBSERVATIONS].index("no_finding")
    thresholds = tuple(threshold if i == position else 0.5 for i in range(len(OBSERVATIONS)))
    report = reread(structured_report(make_film(), make_prediction(thresholds=thresholds)))
    read = hd.sr.Comprehensive3DSR.from_dataset(report).content.get_image_measurement_groups()
    assert [
        (row.name, row.value) for row in read[position].get_qualitative_evaluations(name=REPORT_NAMES_A_FINDING)
    ] == [(REPORT_NAMES_A_FINDING, answer)]
    assert len(read[0].get_qualitative_evaluations(name=codes.DCM.PresenceOfProperty)) == 1


@pytest.mark.parametrize("note", [UNDER_18, ANIMAL])
def test_a_patient_that_models_are_not_meant_for_is_told(note: str) -> None:
    report = reread(structured_report(make_film(), make_prediction(radiograph={"notes": [note]})))
    (comment,) = children(report, "Comment")
    assert comment.TextValue.startswith(f"Outside the intended use: {note}.")
    assert NOT_INTENDED_USE in comment.TextValue


def test_the_groups_are_flat_and_name_algorithm_and_film(report: Dataset) -> None:
    assert len(groups(report)) == 6
    for group, observation in zip(groups(report), OBSERVATIONS, strict=True):
        assert group.ContentTemplateSequence[0].TemplateIdentifier == "1501"
        (finding,) = children(group, "Finding")
        code = finding.ConceptCodeSequence[0]
        assert (code.CodeValue, code.CodingSchemeDesignator) == (
            observation.code.value,
            observation.code.scheme,
        )
        assert children(group, "Tracking Identifier")[0].TextValue == observation.name
        assert children(group, "Algorithm Name")[0].TextValue == "toy"
        assert children(group, "Algorithm Version")[0].TextValue == "1"
        told = {child.TextValue for child in children(group, "Algorithm Parameters")}
        assert f"model-sha256={MODEL.sha256}" in told
        assert {"members=3", "intensity=voi", "inverted=true"} <= told
        image = children(group, "Source of Measurement")[0].ReferencedSOPSequence[0]
        assert image.ReferencedSOPInstanceUID == "1.2.3.4"
        assert not any("ContentSequence" in child for child in group.ContentSequence)
    assert "threshold=0.5" in {child.TextValue for child in children(groups(report)[2], "Algorithm Parameters")}


def test_flip_widths_are_parameters() -> None:
    prediction = replace(make_prediction(), flip_widths=(None, None, 0.025, None, None, None))
    told = [
        {child.TextValue for child in children(group, "Algorithm Parameters")}
        for group in groups(structured_report(make_film(), prediction))
    ]
    assert "flip-width=0.025" in told[2]
    assert not any(text.startswith("flip-width") for text in told[0])


def test_the_device_is_the_model(report: Dataset) -> None:
    (device,) = children(report, "Device Observer UID")
    (equipment,) = report.ContributingEquipmentSequence
    assert device.UID == equipment.DeviceUID == uids.device_uid(MODEL)
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert equipment.DeviceSerialNumber == MODEL.sha256
    for other in (replace(MODEL, version="2"), replace(MODEL, sha256="cd" * 32), replace(MODEL, name="x")):
        assert uids.device_uid(other) != device.UID


def test_patient_and_examination_are_the_films(report: Dataset) -> None:
    assert report.StudyInstanceUID == "1.2.3.1"
    assert report.SeriesInstanceUID not in ("1.2.3.2", "")
    assert (str(report.PatientName), report.PatientID, report.InstanceNumber) == ("Muster^Erika", "4711", 7)
    for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
        assert keyword in report
        assert not report[keyword].value
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.SeriesInstanceUID == "1.2.3.2"


def test_a_repeat_is_the_same_object_byte_for_byte() -> None:
    one = encode(structured_report(make_film(), make_prediction()))
    assert encode(structured_report(make_film(), make_prediction())) == one


def test_uids_tell_films_examinations_kinds_and_models_apart() -> None:
    made = {
        uids.instance_uid(study_uid, sop_uid, kind, model)
        for study_uid in ("1.2", "1.3")
        for sop_uid in ("1.4", "1.5")
        for kind in ("SR", "SC")
        for model in (MODEL, replace(MODEL, version="2"))
    }
    assert len(made) == 16
    assert all(UID(uid).is_valid and uid.startswith("2.25.") and len(uid) <= 44 for uid in made)
    assert uids.derived_uid("ab", "c") != uids.derived_uid("a", "bc")


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", [None, "", "../../etc", "1." * 40 + "1", "x"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
def test_a_film_that_nothing_can_refer_to_is_refused(keyword: str, value: str | None) -> None:
    film = make_film(**{keyword: value})
    with pytest.raises(ServeError, match=rf"{keyword} is (absent|not a valid UID)") as raised:
        structured_report(film, make_prediction())
    assert value is None or value in {"", "x"} or value not in str(raised.value)


def raw_film(**values: bytes) -> Dataset:
    """Return a film read back from a file whose header holds these bytes, valid or not."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    film = make_film()
    for keyword, value in values.items():
        tag = Tag(keyword)
        film._dict[tag] = RawDataElement(tag, None, len(value), value, 0, True, True)
    return film


def test_values_that_break_their_rules_are_left_empty_or_kept_but_never_warned_about() -> None:
    film = raw_film(
        PatientBirthDate=b"19501399",
        StudyDate=b"yesterday",
        StudyTime=b"25:00",
        PatientSex=b"W",
        AccessionNumber=b"A number that is far too long for SH",
        InstanceNumber=b"-3",
        PatientAge=b"old",
    )
    report = structured_report(film, make_prediction())
    assert not report.PatientBirthDate
    assert not report.StudyDate
    assert not report.StudyTime
    assert not report.PatientSex
    assert report.AccessionNumber == "A number that is far too long for SH"
    assert report.InstanceNumber == 1
    assert "PatientAge" not in report


@pytest.mark.parametrize(
    ("character_set", "encoded", "name"),
    [
        (b"ISO_IR 100", "Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
        (b"ISO_IR 192", "Иванов^Иван".encode(), "Иванов^Иван"),
        (b"ISO_IR 144", "Иванов^Иван".encode("iso8859-5"), "Иванов^Иван"),
        (
            b"\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (  # PS3.5 annex K
            b"\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab",
            "Zhang^XiaoDong=张^小东",
        ),
        (  # PS3.5 annex I
            b"\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
    ],
)
def test_names_survive_in_every_script(character_set: bytes, encoded: bytes, name: str) -> None:
    film = raw_film(SpecificCharacterSet=character_set, PatientName=encoded)
    assert identify(film).values["PatientName"] == name
    assert str(reread(structured_report(film, make_prediction())).PatientName) == name


@pytest.mark.parametrize(
    ("changes", "moment"),
    [
        ({"AcquisitionDateTime": "20260102030405.123456+0530", "StudyDate": "20250101"}, ("20260102", "030405")),
        ({"AcquisitionDateTime": "20260102030405.123456", "StudyDate": "20250101"}, ("20260102", "030405")),
        ({"AcquisitionDateTime": "2026010203+0530", "StudyDate": "20250101"}, ("20260102", "030000")),
        ({"AcquisitionDateTime": "202601020304+0530", "StudyDate": "20250101"}, ("20260102", "030400")),
        ({"AcquisitionDateTime": "2026010203", "StudyDate": "20250101"}, ("20260102", "030000")),
        ({"AcquisitionDateTime": "20260102-0500", "StudyDate": "20250101"}, ("20260102", "000000")),
        ({"AcquisitionDateTime": "202601+0530", "StudyDate": "20260103"}, ("20260103", "000000")),
        ({"AcquisitionDateTime": "2026", "StudyDate": "20260103"}, ("20260103", "000000")),
        # another time zone than the film's: 22:04:05 in New York is 08:34:05 of the next day in India
        ({"AcquisitionDateTime": "20260102220405-0500"}, ("20260103", "083405")),
        ({"AcquisitionDateTime": "2026010222-0500"}, ("20260103", "083000")),
        ({"AcquisitionDateTime": "00010101-0500", "StudyDate": "20260103"}, ("00010101", "000000")),
        ({"AcquisitionDateTime": "9999123123-1200", "StudyDate": "20260103"}, ("99991231", "230000")),
        ({"AcquisitionDate": "20260102", "AcquisitionTime": "0304"}, ("20260102", "030400")),
        ({"ContentDate": "20260102", "StudyDate": "20250101"}, ("20260102", "000000")),
        ({"AcquisitionDate": "20261399", "StudyDate": "20260102", "StudyTime": "0304055"}, ("20260102", "000000")),
        ({}, UNKNOWN_MOMENT),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_times_are_the_films(changes: dict[str, str], moment: tuple[str, str]) -> None:
    report = structured_report(make_film(TimezoneOffsetFromUTC="+0530", **changes), make_prediction())
    assert (report.ContentDate, report.ContentTime, report.TimezoneOffsetFromUTC) == (*moment, "+0530")
    assert "InstanceCreationTime" not in report
    assert "ContributionDateTime" not in report.ContributingEquipmentSequence[0]


def test_the_moment_of_scoring_changes_no_byte() -> None:
    one = encode(structured_report(make_film(), make_prediction()))
    time.sleep(1.1)  # DICOM's times have seconds
    assert encode(structured_report(make_film(), make_prediction())) == one


@pytest.mark.peer
@pytest.mark.parametrize("program", ["dciodvfy", "dsrdump"])
def test_toolkits_find_no_error(
    tmp_path: Path, sample_film: Callable[[str], Path], program: str, report: Dataset
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: apt-get install dcmtk dicom3tools")
    film = dcmread(sample_film("RG1_UNCR"), stop_before_pixels=True)
    for name, dataset in (("a", report), ("b", structured_report(film, make_prediction()))):
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(encode(dataset))
        done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False, timeout=30)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        assert not [line for line in said.splitlines() if line.startswith(("Error", "E:", "W:"))], said
        if program == "dsrdump":
            assert "Comprehensive 3D SR" in said
            assert said.count("Measurement Group") == 6


def test_offline_files_are_named_by_uid_and_written_once(tmp_path: Path) -> None:
    prediction = make_prediction(pixels=np.arange(64 * 48, dtype=np.uint8).reshape(64, 48))
    folders = ResultFolders(tmp_path / "sr", tmp_path / "sc")
    paths = write_results(prediction, make_film(), folders)
    assert [dcmread(path).SOPInstanceUID for path in paths] == [path.stem for path in paths]
    before = [path.read_bytes() for path in paths]
    assert write_results(prediction, make_film(), folders) == paths
    assert [path.read_bytes() for path in paths] == before
    assert len(list(tmp_path.rglob("*.*"))) == 2


def test_offline_reads_paths_and_files(tmp_path: Path, sample_film: Callable[[str], Path]) -> None:
    film = sample_film("RG1_UNCR")
    folders = ResultFolders(sr=tmp_path)
    assert write_results(make_prediction(), film, folders) == write_results(
        make_prediction(), BytesIO(film.read_bytes()), folders
    )


def test_a_picture_has_no_examination(tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    picture = replace(make_prediction(), radiograph={"format": "png"})
    with pytest.raises(OutputError, match="belongs to no examination"):
        write_results(picture, tmp_path / "film.png", ResultFolders(sr=tmp_path))


def test_a_capture_needs_pixels(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="keep_pixels=True"):
        write_results(make_prediction(), make_film(), ResultFolders(sc=tmp_path))


def test_the_codes_are_those_of_the_standards_dictionaries() -> None:
    """Codes that pydicom's copy of PS3.16 holds are compared with it; the others are named here."""
    listed = {
        "edema": codes.SCT.PulmonaryEdema,
        "pleural_effusion": codes.SCT.PleuralEffusion,
        "no_finding": codes.DCM.NoAbnormality,
    }
    for observation in OBSERVATIONS:
        code = observation.code
        if observation.identifier in listed:
            known = listed[observation.identifier]
            assert (code.value, code.scheme, code.meaning) == (known.value, known.scheme_designator, known.meaning)
    # In SNOMED CT but in no context group. PS3.16 CID 12248 gives 287272002 for cardiomegaly, whose fully
    # specified name is "Enlarged septal foramen of heart".
    declared = {row.identifier: row.code.value for row in OBSERVATIONS if row.identifier not in listed}
    assert declared == {"atelectasis": "46621007", "cardiomegaly": "8186001", "consolidation": "95436008"}
