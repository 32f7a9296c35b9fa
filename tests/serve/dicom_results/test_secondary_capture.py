"""The secondary capture: a valid picture that says what it is not."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("highdicom")

from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from results import MODEL, make_film, make_prediction
from xraytransfer.errors import ServeError
from xraytransfer.quality_gate import QualityGateResult
from xraytransfer.reading.patient import ANIMAL, UNDER_18
from xraytransfer.serve.dicom_results.results import encode
from xraytransfer.serve.dicom_results.secondary_capture import picture, secondary_capture

FILM = (np.mgrid[:300, :250].sum(axis=0) // 3).astype(np.uint8)
AMBER = (255, 190, 60)


@pytest.fixture(scope="module")
def capture() -> Dataset:
    return dcmread(BytesIO(encode(secondary_capture(make_film(), FILM, make_prediction()))))


def test_it_is_a_colour_picture_in_the_films_examination(capture: Dataset) -> None:
    assert capture.SOPClassUID == SecondaryCaptureImageStorage
    assert (capture.StudyInstanceUID, capture.PatientID) == ("1.2.3.1", "4711")
    assert (capture.PhotometricInterpretation, capture.SamplesPerPixel, capture.BitsStored) == ("RGB", 3, 8)
    assert capture.pixel_array.shape == (capture.Rows, capture.Columns, 3)
    assert np.array_equal(capture.pixel_array, np.asarray(picture(FILM, make_prediction())))


def test_it_says_what_it_is_and_what_it_is_not(capture: Dataset) -> None:
    assert capture.BurnedInAnnotation == "YES"
    assert capture.ConversionType == "WSD"
    assert list(capture.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert "not for diagnosis" in capture.SeriesDescription
    assert "do not locate findings" in capture.ImageComments
    assert MODEL.sha256 in capture.DerivationDescription
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"
    assert capture.ContributingEquipmentSequence[0].ManufacturerModelName == "toy"
    assert "LossyImageCompression" not in capture


def test_the_notice_is_burned_into_both_ends(capture: Dataset) -> None:
    pixels = capture.pixel_array
    for band in (pixels[:40], pixels[-40:]):
        assert tuple(band[2, 2]) == AMBER
        ink = (band < 80).all(axis=2)
        assert ink.sum() > 500  # letters
        assert ink[:, : band.shape[1] // 4].sum() == 0  # centred
    assert np.array_equal(pixels[:40], pixels[-40:])


def test_a_film_that_was_refused_and_scored_all_the_same_says_so_in_the_picture(capture: Dataset) -> None:
    refused = QualityGateResult(False, "sideways", "it lies on its side", {"upright": 0.1, "sideways": 0.9}, 1.0)
    forced = secondary_capture(make_film(), FILM, make_prediction(acceptance=refused))
    assert forced.ImageComments.startswith("The model's quality gate refused this film (sideways)")
    assert "do not locate findings" in forced.ImageComments
    assert "film=sideways" in forced.DerivationDescription
    band, usual = forced.pixel_array[:40], capture.pixel_array[:40]
    assert (band < 80).all(axis=2).sum() > 1.3 * (usual < 80).all(axis=2).sum()  # more letters
    assert np.array_equal(forced.pixel_array[-40:], capture.pixel_array[-40:])


@pytest.mark.parametrize("note", [UNDER_18, ANIMAL])
def test_a_patient_that_models_are_not_meant_for_is_told_in_the_picture(note: str, capture: Dataset) -> None:
    told = secondary_capture(make_film(), FILM, make_prediction(radiograph={"notes": [note]}))
    assert told.ImageComments.startswith(f"Outside the intended use: {note}.")
    band, usual = told.pixel_array[:40], capture.pixel_array[:40]
    assert (band < 80).all(axis=2).sum() > 1.3 * (usual < 80).all(axis=2).sum()  # more letters


def test_one_colour_scale_for_all_maps() -> None:
    """Weak evidence looks weak: a map that is a tenth of another's gets a tenth of its colour."""
    maps = np.zeros((6, 4, 4), np.float32)
    maps[0], maps[3] = 1.0, 0.1
    shown = np.asarray(picture(FILM, make_prediction(activation_map=maps))).astype(int)
    plain = np.asarray(picture(FILM, make_prediction(activation_map=np.zeros((6, 4, 4), np.float32)))).astype(int)
    change = np.abs(shown - plain).sum(axis=2)
    height, width = change.shape[0] // 2, change.shape[1] // 4
    strong, weak = change[:height, width : 2 * width].sum(), change[height:, :width].sum()
    assert 0 < weak < strong / 2


def test_each_observation_has_its_own_map() -> None:
    plain = make_prediction(activation_map=np.zeros((6, 4, 4), np.float32))
    base = np.asarray(picture(FILM, plain)).astype(int)
    for observation in range(6):
        maps = np.zeros((6, 4, 4), np.float32)
        maps[observation] = 1
        changed = (np.asarray(picture(FILM, make_prediction(activation_map=maps))) != base).any(axis=2)
        rows, columns = np.nonzero(changed)
        row, column = divmod(observation + 1, 4)
        height, width = base.shape[0] // 2, base.shape[1] // 4
        assert row * height <= rows.min() <= rows.max() < (row + 1) * height + 40
        assert column * width <= columns.min() <= columns.max() < (column + 1) * width + 8


def test_a_repeat_is_the_same_object_byte_for_byte() -> None:
    one = encode(secondary_capture(make_film(), FILM, make_prediction()))
    assert encode(secondary_capture(make_film(), FILM, make_prediction())) == one


def test_what_was_lossy_stays_lossy() -> None:
    film = make_film(LossyImageCompression="01", LossyImageCompressionRatio="12.5")
    film.LossyImageCompressionMethod = "ISO_10918_1"
    capture = secondary_capture(film, FILM, make_prediction())
    assert (capture.LossyImageCompression, capture.LossyImageCompressionRatio) == ("01", 12.5)
    assert capture.LossyImageCompressionMethod == "ISO_10918_1"


@pytest.mark.parametrize("shape", [(1, 1), (4000, 40), (40, 4000), (2500, 2048)])
def test_films_of_every_shape_fit(shape: tuple[int, int]) -> None:
    made = picture(np.full(shape, 100, np.uint8), make_prediction())
    assert made.mode == "RGB"
    assert max(made.size) < 3000


def test_no_operating_point_is_said_not_invented() -> None:
    prediction = make_prediction(thresholds=(None,) * 6, operating_point=None)
    assert picture(FILM, prediction).size == picture(FILM, make_prediction()).size


def test_a_long_model_name_fits() -> None:
    long = replace(MODEL, name="n" * 300, version="v" * 100)
    capture = secondary_capture(make_film(), FILM, make_prediction(model=long))
    assert len(capture.ManufacturerModelName) == 64
    assert len(capture.DerivationDescription) <= 1024


def test_a_film_without_an_examination_is_refused() -> None:
    with pytest.raises(ServeError, match="StudyInstanceUID is absent"):
        secondary_capture(make_film(StudyInstanceUID=None), FILM, make_prediction())


@pytest.mark.peer
def test_dciodvfy_finds_no_error(tmp_path: Path, sample_film: Callable[[str], Path], capture: Dataset) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    film = dcmread(sample_film("RG1_UNCR"), stop_before_pixels=True)
    for name, dataset in (("a", capture), ("b", secondary_capture(film, FILM, make_prediction()))):
        (tmp_path / name).write_bytes(encode(dataset))
        done = subprocess.run(
            ["dciodvfy", str(tmp_path / name)], capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 0, done.stderr
        assert not [line for line in done.stderr.splitlines() if line.startswith("Error")], done.stderr
