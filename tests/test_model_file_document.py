"""A program that does what docs/model-file.md says, and imports nothing of ours, gets the answers of `predict`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import xraytransfer

MODELS = Path(xraytransfer.__file__).parent / "models"
PAGE = (Path(__file__).resolve().parents[1] / "docs" / "model-file.md").read_text("utf-8")


class Reader:
    """The rules of the page: description, outputs, decisions and calibration."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.known = json.loads(self.session.get_modelmeta().custom_metadata_map["xraytransfer"])

    def answers(self, grey):
        """Return the outputs for one film that Pillow resized."""
        rows, columns = self.known["input"]["resolution"]
        small = np.asarray(Image.fromarray(grey).resize((columns, rows), Image.Resampling.BILINEAR))
        names = [output.name for output in self.session.get_outputs()]
        found = self.session.run(names, {"image": small[None, None]})
        return {name: value[0] for name, value in zip(names, found, strict=True)}

    def accepts(self, answers):
        limits = self.known["acceptance"]
        upright = answers["film_kind"][limits["kinds"].index("upright")]
        return upright >= limits["minimum_probability"] and answers["film_distance"] <= limits["maximum_distance"]

    def rows(self):
        point = self.known["default_operating_point"]
        named = {row["observation"]: row for row in self.known["operating_points"] if row["name"] == point}
        return [named[observation["identifier"]] for observation in self.known["observations"]]

    def calibrated(self, probability):
        a, b, c = (np.array(self.known["calibration"]["parameters"][name]) for name in "abc")
        p = np.clip(probability.astype(float), 1e-7, 1 - 1e-7)
        return 1 / (1 + np.exp(-(a * np.log(p) - b * np.log(1 - p) + c)))


def scaled(value, black, white):
    return np.rint((value - black) / (white - black) * 255).clip(0, 255).astype(np.uint8)


def own_range(value):
    step = max(1, int((value.size / 65_536) ** 0.5))
    first, last = np.quantile(value[::step, ::step], [0.01, 0.99])
    reach = (last - first) / 5
    kept = value[(value >= first - reach) & (value <= last + reach)]
    return kept.min(), kept.max()


def windowed(path):
    """Return the grey levels of a DICOM film with one linear window, read with pydicom alone."""
    import pydicom

    film = pydicom.dcmread(path)
    value = film.pixel_array.astype(float) * float(film.get("RescaleSlope", 1)) + float(film.get("RescaleIntercept", 0))
    center, width = (float(np.atleast_1d(film[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
    grey = scaled(value, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)
    return 255 - grey if film.PhotometricInterpretation == "MONOCHROME1" else grey


@pytest.mark.parametrize("name", ["default", "default-small"])
def test_probabilities_decisions_and_members(name, sample_film):
    path = sample_film("RG1_UNCR")
    grey = windowed(path)
    np.testing.assert_array_equal(grey, xraytransfer.read_radiograph(path).pixels)
    reader = Reader(MODELS / f"{name}.onnx")
    prediction = xraytransfer.load(name, device="cpu").predict(path)
    answers = reader.answers(grey)
    found, rows = answers["probability"], reader.rows()
    assert reader.accepts(answers)
    np.testing.assert_array_equal(found, prediction.probability)
    assert tuple(value >= row["threshold"] for value, row in zip(found, rows, strict=True)) == prediction.decision
    near = [abs(value - row["threshold"]) <= row["flip_width"] for value, row in zip(found, rows, strict=True)]
    assert tuple(near) == prediction.near_threshold
    members = answers["member_probability"]
    np.testing.assert_allclose(reader.calibrated(members), prediction.member_probability, atol=1e-6)
    np.testing.assert_allclose(reader.calibrated(members.mean(axis=0)), found, atol=1e-6)


@pytest.mark.parametrize("has_mark", [False, True])
def test_grey_levels_of_sixteen_bits(has_mark, sample_film, tmp_path):
    grey = xraytransfer.read_radiograph(sample_film("RG1_UNCR")).pixels.astype(float)
    value = np.rint(grey * 14 + np.random.default_rng(0).normal(300, 9, grey.shape)).clip(0, 65535)
    value[3::7, ::5] = 9000  # 3 % of all pixels, but none of every seventh row: outliers by the page's rule
    if has_mark:
        value[10:60, 10:90] = 65535
    Image.fromarray(value.astype(np.uint16)).save(tmp_path / "film.png")
    film = xraytransfer.read_radiograph(tmp_path / "film.png")
    np.testing.assert_array_equal(scaled(value, *own_range(value)), film.pixels)


def test_the_page_names_every_key_on_which_a_result_depends():
    table = PAGE[PAGE.index("These keys decide") : PAGE.index("### Checksum")]
    keys = ["schema_version", "observations", "resolution", "intensity", "size", "type", "kinds", "minimum_probability"]
    keys += ["maximum_distance", "minimum_mirrored_probability", "default_operating_point", "operating_points"]
    for key in (*keys, "flip_width", "parameters", "self_test"):
        assert f"{key}`" in table, key
