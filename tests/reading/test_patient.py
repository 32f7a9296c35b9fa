"""Films of patients that models are not meant for: what the header says, and what every form of a result says then."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import Dataset

import xraytransfer
from xraytransfer.cli.entry import cli
from xraytransfer.errors import RadiographError
from xraytransfer.radiograph import read_radiograph
from xraytransfer.reading.patient import ANIMAL, UNDER_18


def film(dicom_film, **attributes) -> bytes:
    words = np.random.default_rng(0).integers(0, 4096, (64, 60)).astype(np.uint16)
    return dicom_film(words, **attributes)


def species(value: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "told"
    return [item]


@pytest.mark.parametrize(
    ("attributes", "notes"),
    [
        ({"PatientAge": "017Y"}, [UNDER_18]),
        ({"PatientAge": "018Y"}, []),
        ({"PatientAge": "215M"}, [UNDER_18]),
        ({"PatientAge": "216M"}, []),
        ({"PatientAge": "010D"}, [UNDER_18]),
        ({"PatientAge": "051W"}, [UNDER_18]),
        ({"PatientBirthDate": "20080102", "StudyDate": "20260101"}, [UNDER_18]),
        ({"PatientBirthDate": "20080102", "StudyDate": "20260102"}, []),
        ({"PatientBirthDate": "20270102", "StudyDate": "20260102"}, []),
        ({"PatientAge": "040Y", "PatientBirthDate": "20200101", "StudyDate": "20260101"}, []),
        ({"PatientBirthDate": "20200101"}, []),
        ({"PatientBirthDate": "20080102", "AcquisitionDateTime": "2026010112+0100"}, [UNDER_18]),
        ({"PatientBirthDate": "20080102", "AcquisitionDateTime": "2025"}, [UNDER_18]),
        ({"PatientBirthDate": "20080102", "AcquisitionDateTime": "2026"}, []),  # perhaps 17, perhaps 18
        ({"PatientBirthDate": "20080102", "AcquisitionDateTime": "202512-0500"}, [UNDER_18]),
        ({"PatientBirthDate": "20080102", "AcquisitionDateTime": "202601"}, []),
        ({"PatientBirthDate": "20080102", "AcquisitionDateTime": "2026", "StudyDate": "20260101"}, [UNDER_18]),
        ({"PatientSpeciesDescription": "Canine"}, [ANIMAL]),
        ({"PatientSpeciesDescription": "Homo sapiens"}, []),
        ({"PatientSpeciesDescription": ""}, []),
        ({"PatientSpeciesCodeSequence": species("448771007")}, [ANIMAL]),
        ({"PatientSpeciesCodeSequence": species("337915000")}, []),
        ({"PatientSpeciesDescription": "Feline", "PatientAge": "004Y"}, [UNDER_18, ANIMAL]),
        ({}, []),
    ],
)
def test_notes(dicom_film, attributes, notes):
    found = read_radiograph(film(dicom_film, **attributes)).notes
    assert [note for note in found if note in (UNDER_18, ANIMAL)] == notes


def test_a_policy_refuses_them(dicom_film, toy_model):
    child = film(dicom_film, PatientAge="004Y")
    prediction = xraytransfer.load(toy_model, device="cpu").predict(child)
    assert prediction.unintended == (UNDER_18,)
    assert UNDER_18 in prediction.cautions[0]
    assert UNDER_18 in prediction.to_dict()["radiograph"]["notes"]
    strict = xraytransfer.load(toy_model, device="cpu", unintended_films="refuse")
    with pytest.raises(RadiographError, match="unintended_films='note'") as refused:
        strict.predict(child)
    assert refused.value.reason == "unintended-film"
    assert strict.predict(film(dicom_film)).unintended == ()
    with pytest.raises(ValueError, match="expected note or refuse"):
        xraytransfer.load(toy_model, device="cpu", unintended_films="maybe")


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
def test_every_form_of_predict_tells_it_and_an_option_refuses(dicom_film, toy_model, tmp_path, form):
    path = tmp_path / "child.dcm"
    path.write_bytes(film(dicom_film, PatientAge="004Y"))
    options = ["predict", str(path), "--model", str(toy_model), "--device", "cpu", "--format", form]
    scored = CliRunner().invoke(cli, options)
    assert (scored.exit_code, UNDER_18 in scored.stdout) == (0, True)
    refused = CliRunner().invoke(cli, [*options, "--unintended-films", "refuse"])
    assert refused.exit_code == 1
    assert "refused (unintended-film)" in refused.stderr
    assert "--unintended-films note" in refused.stderr
    assert "004Y" not in scored.output + refused.output
