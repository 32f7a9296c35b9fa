"""A model's checksum: whatever changes an answer changes it, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

import xraytransfer
from xraytransfer import model_file
from xraytransfer.calibration import Calibration
from xraytransfer.errors import ModelFileError
from xraytransfer.model_identity import model_sha256
from xraytransfer.model_summary import verified
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.radiograph import Radiograph

IDENTITY = {"a": [1.0] * 6, "b": [1.0] * 6, "c": [0.0] * 6}
GATE = {"kinds": ["upright", "other"], "minimum_probability": 0.5, "maximum_distance": 2.0}


@pytest.fixture
def document(toy_model):
    return {**model_file.describe(toy_model).document, "calibration": {"parameters": IDENTITY}, "acceptance": GATE}


def with_threshold(document, value):
    first, *others = document["operating_points"]
    return [{**first, "threshold": value}, *others]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: {"graph_sha256": "ab" * 32},
        lambda d: {"operating_points": with_threshold(d, 0.41)},
        lambda d: {"operating_points": with_threshold(d, None)},
        lambda d: {"operating_points": d["operating_points"][1:]},
        lambda d: {"operating_points": [{**row, "flip_width": 0.01} for row in d["operating_points"]]},
        lambda d: {"default_operating_point": "other"},
        lambda d: {"input": {**d["input"], "intensity": "minmax"}},
        lambda d: {"input": {**d["input"], "resolution": [64, 64]}},
        lambda d: {"input": {**d["input"], "resize": "other"}},
        lambda d: {"calibration": {"parameters": {**IDENTITY, "c": [0.0] * 5 + [0.1]}}},
        lambda d: {"calibration": None},
        lambda d: {"acceptance": {**GATE, "minimum_probability": 0.6}},
        lambda d: {"acceptance": {**GATE, "maximum_distance": 3.0}},
        lambda d: {"acceptance": {**GATE, "minimum_mirrored_probability": 0.9}},
    ],
)
def test_what_decides_changes_the_checksum(document, change):
    assert model_sha256({**document, **change(document)}) != model_sha256(document)


def test_what_only_describes_leaves_the_checksum_alone(document):
    rows = [{**row, "data": "site.csv", "sensitivity": 0.5} for row in reversed(document["operating_points"])]
    told = {"metrics": [], "notes": ["x"], "created": "now", "writer": "x", "licence": "x", "operating_points": rows}
    described = {**document["calibration"], "data": "site.csv", "reliability": {}}
    assert model_sha256({**document, **told, "calibration": described}) == model_sha256(document)


def test_thresholds_alone_tell_two_models_apart(toy_model, toy_model_writer, document, tmp_path):
    toy_model_writer(tmp_path / "site.onnx", operating_points=with_threshold(document, 0.9))
    one, other = (xraytransfer.load(path, device="cpu") for path in (toy_model, tmp_path / "site.onnx"))
    assert one.description.graph_sha256 == other.description.graph_sha256
    assert one.description.sha256 != other.description.sha256


def test_members_go_through_the_models_curve():
    curve = Calibration(np.full(6, 0.7), np.full(6, 0.9), np.full(6, -1.0))
    p = np.random.default_rng(0).random((2, 3, 6))
    expected = 1 / (1 + np.exp(-(0.7 * np.log(p) - 0.9 * np.log(1 - p) - 1)))
    np.testing.assert_allclose(curve.apply(p), expected, atol=1e-6)
    assert np.isfinite(curve.apply(np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]))).all()


def test_a_description_that_contradicts_its_graph_is_refused(toy_model_writer, tmp_path):
    wrong = {"parameters": {**IDENTITY, "c": [0.5] * 6}}
    toy_model_writer(tmp_path / "wrong.onnx", calibration=wrong)
    film = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    radiograph = Radiograph(film, "x", "png", "voi", False, "full-range", 8, ())
    with pytest.raises(ModelFileError, match="not the one in its graph"):
        xraytransfer.load(tmp_path / "wrong.onnx", device="cpu").predict(radiograph)
    with pytest.raises(ModelFileError, match="not the one in its graph"):
        verified(tmp_path / "wrong.onnx", "cpu")


@pytest.mark.parametrize("parameters", [{}, {**IDENTITY, "a": [1.0]}, {**IDENTITY, "a": ["x"] * 6}, 3])
def test_a_malformed_calibration_is_refused(toy_model_writer, tmp_path, parameters):
    toy_model_writer(tmp_path / "bad.onnx", calibration={"parameters": parameters})
    with pytest.raises(ModelFileError, match="calibration parameters"):
        model_file.describe(tmp_path / "bad.onnx")


@pytest.mark.parametrize("name", sorted(model_file.shipped_models()))
def test_spread_and_probability_of_shipped_models_share_a_scale(name, sample_film):
    prediction = xraytransfer.load(name, device="cpu").predict(sample_film("RG1_UNCR"), any_film=True)
    members = prediction.member_probability
    assert members.shape[1] == len(OBSERVATIONS)
    assert (members.min(axis=0) - 1e-3 <= prediction.probability).all()
    assert (prediction.probability <= members.max(axis=0) + 1e-3).all()
    assert not np.allclose(members, prediction.raw_member_probability, atol=1e-3)
