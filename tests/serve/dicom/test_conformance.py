"""The conformance statement says what the code does: its tables are compared with it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from pydicom import Dataset
from pydicom.datadict import dictionary_description
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from xraytransfer.observations import OBSERVATIONS
from xraytransfer.prediction import ModelIdentity, Prediction
from xraytransfer.serve.dicom import scp, scu
from xraytransfer.serve.dicom.connection import Answer
from xraytransfer.serve.dicom.limited_receive import MAX_PDU
from xraytransfer.serve.dicom_results import secondary_capture, uids
from xraytransfer.serve.dicom_results import structured_report as sr
from xraytransfer.serve.dicom_settings import Destination, DicomSettings

STATEMENT = (Path(__file__).resolve().parents[3] / "docs" / "dicom-conformance.md").read_text("utf-8")


def table(name: str) -> list[list[str]]:
    """Return the cells of the table below a mark, without its head."""
    (body,) = re.findall(rf"<!-- table: {name} -->\n((?:\|.*\n)+)", STATEMENT)
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in body.splitlines()]
    return [[cell.rstrip("|").strip() for cell in row] for row in rows[2:]]


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("SCP SOP classes", scp.SOP_CLASSES),
        ("SCP transfer syntaxes", scp.TRANSFER_SYNTAXES),
        ("SCU SOP classes", scu.SOP_CLASSES),
        ("SCU transfer syntaxes", scu.TRANSFER_SYNTAXES),
    ],
)
def test_classes_and_syntaxes(name: str, declared: tuple[str, ...]) -> None:
    assert table(name) == [[UID(uid).name, str(uid)] for uid in declared]


def test_statuses_that_are_given() -> None:
    assert table("SCP statuses") == [[f"{status:04X}", meaning] for status, meaning in scp.STATUSES.items()]
    source = Path(scp.__file__).read_text("utf-8")
    assert {int(status, 16) for status in re.findall(r"return (0x[0-9A-F]{4})", source)} == set(scp.STATUSES)


def test_statuses_that_are_understood() -> None:
    expected = {"taken": Answer.TAKEN, "never": Answer.NEVER, "sent ": Answer.LATER}
    seen = 0
    for answers, what in table("SCU statuses"):
        for status in re.findall(r"\b[0-9A-F]{4}\b", answers):
            assert scu.classify(int(status, 16)) is expected[what[:5]], status
            seen += 1
    assert seen >= 15
    assert scu.classify(0xFFFF) is Answer.LATER


def test_settings() -> None:
    settings = DicomSettings(spool=Path("spool"), destinations=(Destination.parse("A@b:1"),))
    said = {row[0]: row[1] for row in (line.strip("| ").split(" | ") for line in STATEMENT.splitlines()) if row[1:]}
    assert f"`{settings.ae_title}`" in said["AE title"]
    assert f"`{settings.host}`, port {settings.port} " in said["Address"]
    assert said["Largest object"].startswith(f"{settings.max_object_bytes} bytes")
    assert said["Associations accepted at once"].startswith(f"{settings.max_associations};")
    assert f"(`--dicom-other {settings.other_objects}`)" in said["Other storage SOP classes"]
    assert said["Idle association"] == f"ended after {settings.idle_timeout_s:.0f} s"
    assert said["Wait for a peer's answer"] == f"{settings.answer_timeout_s:.0f} s"
    entity = scp.application_entity(settings)
    assert said["Maximum PDU length announced"] == f"{entity.maximum_pdu_size} bytes"
    assert said["Longest PDU read"].startswith(f"{MAX_PDU} bytes")
    assert said["Implementation class UID"] == f"`{uids.IMPLEMENTATION_CLASS_UID}`"
    assert f"at most {settings.max_attempts} times" in STATEMENT
    assert [f"{settings.back_off(failures):.0f}" for failures in (1, 2, 3, 99)] == ["5", "10", "20", "600"]
    assert "5, 10, 20 ... 600 s" in STATEMENT


def test_codes_of_the_findings() -> None:
    assert table("findings") == [[row.name, row.code.value, row.code.scheme, row.code.meaning] for row in OBSERVATIONS]
    not_evaluated = (codes.DCM.SummaryOfAnalyses, codes.DCM.NotAttempted)
    for code in (sr.CHEST_RADIOGRAPHY, sr.MEMBER_SPREAD, sr.REPORT_NAMES_A_FINDING, *not_evaluated):
        words = f"({code.value}, {code.scheme_designator}, {code.meaning})"
        assert words in " ".join(STATEMENT.split())


@pytest.mark.parametrize("kind", ["SR", "SC"])
def test_attributes(kind: str) -> None:
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = scp.SOP_CLASSES[0], "1.2.3.4"
    film.StudyInstanceUID, film.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    prediction = Prediction(
        source="film.dcm",
        probability=np.full(6, 0.5, np.float32),
        member_probability=np.full((2, 6), 0.5, np.float32),
        activation_map=np.ones((6, 4, 4), np.float32),
        thresholds=(0.5,) * 6,
        operating_point="youden",
        radiograph={},
        model=ModelIdentity("toy", "1", "ab" * 32),
        provider="CPUExecutionProvider",
        raw_member_probability=np.full((2, 6), 0.5, np.float32),
    )

    def make(film: Dataset) -> Dataset:
        if kind == "SR":
            return sr.structured_report(film, prediction)
        pixels = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
        return secondary_capture.secondary_capture(film, pixels, prediction)

    rows = table(f"{kind} attributes")
    bare = {f"({element.tag.group:04X},{element.tag.elem:04X})" for element in make(film)}
    assert bare == {row[0] for row in rows if "absent" not in row[2]}
    film.PatientAge, film.IssuerOfPatientID, film.StudyDescription = "050Y", "HOSPITAL", "Chest"
    film.TimezoneOffsetFromUTC, film.LossyImageCompression = "+0100", "01"
    film.LossyImageCompressionRatio, film.LossyImageCompressionMethod = "10", "ISO_10918_1"
    full = make(film)
    assert [f"({element.tag.group:04X},{element.tag.elem:04X})" for element in full] == [row[0] for row in rows]
    for tag, name, value in rows:
        number = int(tag[1:5] + tag[6:10], 16)
        assert dictionary_description(number) == name
        written = full[number].value
        if re.fullmatch(r"[0-9.]+|[A-Z]{2,}", value):  # a constant
            assert str(written) == value.strip("`")
        if name == "Series Description":
            assert written == value
