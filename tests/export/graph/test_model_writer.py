"""Writing: whole or not at all, checked, finite, deterministic."""

from __future__ import annotations

import json

import onnx
import pytest
from torch import nn

from xraytransfer.errors import ExportError, ModelFileError
from xraytransfer.export.graph import model_writer
from xraytransfer.export.graph.model_writer import check_size, serialise
from xraytransfer.model_file import METADATA_KEY, describe, graph_sha256, parse


def test_checksum_covers_graph_and_not_description(toy_model):
    model = onnx.load(toy_model)
    document = describe(toy_model).document
    one = serialise(model, {**document, "name": "one"})
    two = serialise(model, {**document, "name": "two"})
    assert graph_sha256(one) == graph_sha256(two) == json.loads(metadata(one))["graph_sha256"]
    assert one != two
    assert parse(one, toy_model, verify=True).name == "one"
    assert len(onnx.ModelProto.FromString(two).metadata_props) == 1


def metadata(data):
    return next(row.value for row in onnx.ModelProto.FromString(data).metadata_props if row.key == METADATA_KEY)


def test_numbers_that_are_not_finite_become_null(toy_model):
    rows = [{"data": "x", "subset": "all", "observation": "macro", "metric": "auroc", "value": float("nan")}]
    data = serialise(onnx.load(toy_model), {**describe(toy_model).document, "metrics": rows})
    assert "NaN" not in metadata(data)
    assert json.loads(metadata(data))["metrics"][0]["value"] is None


def test_a_description_that_breaks_the_schema_is_refused(toy_model):
    document = {**describe(toy_model).document, "members": []}
    with pytest.raises(ModelFileError):
        serialise(onnx.load(toy_model), document)


def test_size_says_what_would_fit(monkeypatch):
    networks = [nn.Linear(1000, 1000, bias=False)] * 3
    assert check_size(networks, "float32") == 3 * (4_000_000 + 1_000_000)
    monkeypatch.setattr(model_writer, "MAX_BYTES", 11_000_000)
    with pytest.raises(ExportError, match=r"3 members take about 0\.0 GB, .* at most 2 such members fit"):
        check_size(networks, "float32")
    assert check_size(networks, "float16-weights") == 9_000_000
    monkeypatch.setattr(model_writer, "MAX_BYTES", 1_000_000)
    with pytest.raises(ExportError, match="not even one such member fits"):
        check_size(networks, "int8")
