"""The model file: what is read, what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraytransfer import model_file, model_metadata
from xraytransfer.errors import ModelFileError


def test_description_and_checksum(toy_model):
    description, data = model_file.read(toy_model, verify=True)
    assert description.name == "toy"
    assert description.resolution == (32, 32)
    assert description.observations[-1] == "pleural_effusion"
    assert description.thresholds()[0] == pytest.approx(0.4)
    assert description.thresholds("unknown") == [None] * 6
    assert model_file.graph_sha256(data) == description.graph_sha256


def test_checksum_covers_everything_but_the_metadata(toy_model, tmp_path):
    onnx = pytest.importorskip("onnx")
    before = model_file.graph_sha256(toy_model.read_bytes())
    model = onnx.load(toy_model)
    model.metadata_props[0].value = json.dumps({**json.loads(model.metadata_props[0].value), "name": "renamed"})
    assert model_file.graph_sha256(model.SerializeToString()) == before
    model.graph.initializer[-1].raw_data = model.graph.initializer[-1].raw_data[:-4] + b"\0\0\0\0"
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="damaged"):
        model_file.read(changed, verify=True)


def test_newer_schema_is_refused(toy_model_writer, tmp_path):
    path = tmp_path / "newer.onnx"
    toy_model_writer(path, schema_version=model_metadata.SCHEMA_VERSION + 1)
    with pytest.raises(ModelFileError, match="a newer version of xraytransfer reads"):
        model_file.describe(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"operating_points": [{"name": "x", "observation": "edema", "threshold": each} for each in (0.5, 0.6)]},
            "two operating points 'x' of 'edema'",
        ),
        ({"default_operating_point": "typo"}, "default_operating_point is 'typo'"),
    ],
)
def test_thresholds_that_contradict_each_other_are_refused(toy_model_writer, tmp_path, change, message):
    toy_model_writer(tmp_path / "bad.onnx", **change)
    with pytest.raises(ModelFileError, match=message):
        model_file.describe(tmp_path / "bad.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": "1"}, "schema_version is '1'"),
        ({"schema_version": True}, "schema_version is True"),
        ({"observations": []}, "observations"),
        ({"observations": [{"identifier": "atelectasis"}]}, "observations"),
        ({"input": {"resolution": [0, 3], "intensity": "voi"}}, "resolution"),
        ({"input": {"resolution": [3, 3], "intensity": "magic"}}, "intensity recipe 'magic'"),
        ({"members": []}, "members"),
        ({"graph_sha256": "abc"}, "graph_sha256"),
        ({"licence": None}, "licence is None"),
        ({"operating_points": [{"name": "x"}]}, "operating point"),
        ({"operating_points": None}, "operating_points is None"),
        ({"operating_points": [{"name": "x", "observation": "edema", "threshold": "high"}]}, "no number"),
        ({"operating_points": [{"name": "x", "observation": "edema", "threshold": 1.5}]}, "outside of 0 to 1"),
        (
            {"operating_points": [{"name": "x", "observation": "edema", "threshold": 0.5, "flip_width": -0.1}]},
            "flip_width that is no number from 0",
        ),
        ({"name": ""}, "name is ''"),
        ({"name": "a\x1b[31m"}, "expected no control characters"),
        (
            {"operating_points": [{"name": "x", "observation": "edema", "threshold": 0.5, "flip_width": "wide"}]},
            "flip_width that is no number",
        ),
        ({"calibration": {"parameters": {"a": [1] * 6, "b": [1] * 6}}}, "not the numbers a, b and c"),
        ({"calibration": {"parameters": dict.fromkeys("abc", [1] * 5)}}, "not 6 numbers each"),
        ({"metrics": None}, "metrics is None"),
        ({"metrics": [{"metric": "auroc"}]}, "lacks data"),
        (
            {"metrics": [{"data": "d", "subset": "all", "observation": "edema", "metric": "auroc", "value": "0.8"}]},
            "no number",
        ),
    ],
)
def test_incomplete_metadata_is_refused(toy_model_writer, tmp_path, change, message):
    path = tmp_path / "bad.onnx"
    toy_model_writer(path, **change)
    with pytest.raises(ModelFileError, match=message):
        model_file.describe(path)
    jsonschema = pytest.importorskip("jsonschema")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(_toy_document(path), model_metadata.schema())


@pytest.mark.parametrize(
    "name", ["\u80f8\u90e8\u3000X\u7dda", "R\u00e9seau\u00a02", "\u0645\u062f\u0644\u200c\u0647\u0627"]
)
def test_names_in_any_script_are_taken(toy_model_writer, tmp_path, name):
    path = tmp_path / "named.onnx"
    toy_model_writer(path, name=name, version=name)
    assert model_file.describe(path).name == name
    pytest.importorskip("jsonschema").validate(_toy_document(path), model_metadata.schema())


def test_a_threshold_that_is_nan_is_refused(toy_model_writer, tmp_path):
    """Python's JSON reader takes NaN, and no schema can tell it from a number."""
    path = tmp_path / "nan.onnx"
    toy_model_writer(path, operating_points=[{"name": "x", "observation": "edema", "threshold": float("nan")}])
    with pytest.raises(ModelFileError, match="outside of 0 to 1"):
        model_file.describe(path)


def _toy_document(path):
    onnx = pytest.importorskip("onnx")
    return json.loads(onnx.load(path).metadata_props[0].value)


def test_toy_and_shipped_models_fulfil_the_published_schema(toy_model):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(model_metadata.schema())
    for path in [toy_model, *model_file.shipped_models().values()]:
        jsonschema.validate(model_file.describe(path).document, model_metadata.schema())


def test_a_shipped_models_name_means_the_shipped_model(toy_model, tmp_path, monkeypatch):
    monkeypatch.setattr(model_file, "shipped_models", lambda: {"default": toy_model})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").write_bytes(b"something else")
    assert model_file.describe("default").path == toy_model
    with pytest.raises(ModelFileError, match="not a model file of xraytransfer"):
        model_file.describe("./default")


def test_absent_empty_and_foreign_files(tmp_path):
    with pytest.raises(ModelFileError, match="no such model file"):
        model_file.describe(tmp_path / "none.onnx")
    for name, content in {"empty": b"", "text": b"hello, world", "zeros": bytes(100)}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match="not a model file of xraytransfer"):
            model_file.describe(path)


def test_every_truncation_is_refused(toy_model, tmp_path):
    data = toy_model.read_bytes()
    for length in range(0, len(data), 97):
        with pytest.raises(ModelFileError):
            model_file.parse(data[:length], tmp_path, verify=True)


@given(st.binary(max_size=200))
def test_random_bytes_never_crash_the_reader(data):
    try:
        digest = model_file.graph_sha256(data)
    except ValueError:
        return
    assert len(digest) == 64
