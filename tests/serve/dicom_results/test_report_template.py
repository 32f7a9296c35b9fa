"""Reports from a template: what highdicom would make, whatever films came before, and nothing of those."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest

pytest.importorskip("highdicom")

from pydicom import dcmread

from results import MODEL, make_film, make_prediction
from xraytransfer.quality_gate import QualityGateResult
from xraytransfer.reading.patient import UNDER_18
from xraytransfer.serve.dicom_results import structured_report as module
from xraytransfer.serve.dicom_results.identity import identify
from xraytransfer.serve.dicom_results.report_template import ReportTemplates, encode
from xraytransfer.serve.dicom_results.secondary_capture import secondary_capture
from xraytransfer.serve.dicom_results.structured_report import built_report, structured_report

REFUSED = QualityGateResult(False, "sideways", "it lies on its side", {"upright": 0.1, "sideways": 0.9}, 1.0)
FULL = {
    "PatientAge": "050Y",
    "IssuerOfPatientID": "HOSPITAL",
    "StudyDescription": "Chest",
    "TimezoneOffsetFromUTC": "+0100",
    "PatientSex": "F",
    "PatientBirthDate": "19700101",
    "AccessionNumber": "A1",
    "StudyID": "S1",
    "ReferringPhysicianName": "Refer^R",
    "AcquisitionDateTime": "20260102030405.12",
}
FILMS: list[dict[str, Any]] = [
    FULL,
    {},  # after a film that has everything: nothing of that may stay
    {"PatientName": "Иванов^Иван", "SpecificCharacterSet": "ISO_IR 192", "SOPInstanceUID": "1.2.3.5"},
    {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.9.1"},
    {"AccessionNumber": "A number that is far too long for SH", "InstanceNumber": 999},
]
NUMBERS = np.random.default_rng(0)


def predictions() -> Iterator[Any]:
    yield make_prediction()
    for _ in range(4):
        yield make_prediction(probability=NUMBERS.random(6).astype(np.float32))
    yield make_prediction(probability=np.array([0, 1, 0.5, 1e-5, 0.99996, 0.00005], np.float32))
    yield make_prediction(thresholds=(None,) * 6, operating_point=None)
    yield make_prediction(thresholds=(0.0,) * 6)
    yield make_prediction(thresholds=(1.0,) * 6)
    yield make_prediction(acceptance=REFUSED)
    yield make_prediction(radiograph={"notes": [UNDER_18], "window": "full-range", "reduction": 4})
    yield make_prediction(model=replace(MODEL, version="3+site.0123abcd", sha256="cd" * 32))
    yield make_prediction(model=replace(MODEL, name="Röntgen"))
    yield make_prediction(model=replace(MODEL, name="模型"))


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize("prediction", list(predictions()))
def test_a_filled_template_is_what_highdicom_builds(prediction: Any) -> None:
    for changes in FILMS:
        film = make_film(**changes)
        filled, built = structured_report(film, prediction), built_report(identify(film), prediction)
        assert filled.to_json_dict() == built.to_json_dict()  # element by element, sequences included
        assert filled.file_meta == built.file_meta
        assert encode(filled) == encode(built)


@pytest.mark.parametrize("name", ["Röntgen", "模型"])
@pytest.mark.parametrize("patient", ["Muster^Erika", "Müller^Erika", "Иванов^Иван"])
def test_the_models_name_and_the_patients_survive_in_every_script(name: str, patient: str) -> None:
    film = make_film(PatientName=patient, SpecificCharacterSet="ISO_IR 192")
    prediction = make_prediction(model=replace(MODEL, name=name))
    capture = secondary_capture(film, np.zeros((50, 40), np.uint8), prediction)
    report = structured_report(film, prediction)
    for result in (report, capture):
        read = dcmread(BytesIO(encode(result)))
        assert (read.ManufacturerModelName, read.PatientName) == (name, patient)
    read = dcmread(BytesIO(encode(report)))
    assert name in {item.get("TextValue") for item in read.ContentSequence}


def test_a_template_is_made_once_for_films_that_were_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(module, "_TEMPLATES", ReportTemplates())
    monkeypatch.setattr(module, "built_report", lambda *args: made.append(args) or built_report(*args))
    for number in range(5):
        probability = NUMBERS.random(6).astype(np.float32)
        structured_report(make_film(SOPInstanceUID=f"1.2.{number}", **FULL), make_prediction(probability=probability))
    assert len(made) == 1
    structured_report(make_film(), make_prediction(thresholds=(0.3,) * 6))
    assert len(made) == 2


def test_templates_that_are_not_used_are_dropped() -> None:
    templates, made = ReportTemplates(capacity=2), []
    report = built_report(identify(make_film()), make_prediction())
    for key in ("a", "b", "a", "c", "a", "b"):
        templates.get(key, lambda key=key: made.append(key) or report)
    assert made == ["a", "b", "c", "b"]
