"""Precisions: what is stored, what stays float32, and that answers stay near."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from xraytransfer.errors import ExportError
from xraytransfer.export.graph.calibration_numbers import CALIBRATION_INITIALISERS
from xraytransfer.export.graph.precision import float16_weights, lower
from xraytransfer.export.graph.to_onnx import build_graph, inside_member
from xraytransfer.export.options import PRECISIONS
from xraytransfer.study.networks.architectures import find_architecture
from xraytransfer.study.networks.network import build_network

KIND = {"float16-weights": TensorProto.FLOAT16, "float16": TensorProto.FLOAT16, "int8": TensorProto.INT8}


@pytest.fixture(scope="module")
def graph(remembered_traces):
    torch.manual_seed(1)
    network = build_network(find_architecture("toy_resnet"), initialisation="random").eval()
    return build_graph([network, network], (64, 64))


@pytest.fixture(scope="module")
def films():
    return list(np.random.default_rng(0).integers(0, 256, (16, 80, 70), dtype=np.uint8))


def answers(model, films):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": np.stack(films)[:, None]})


@pytest.mark.parametrize("precision", PRECISIONS)
def test_answers_stay_near_and_the_rest_stays_float32(graph, films, precision):
    before = graph.SerializeToString()
    lowered = lower(graph, precision, films)
    assert graph.SerializeToString() == before
    onnx.checker.check_model(lowered)
    for found, expected in zip(answers(lowered, films)[:2], answers(graph, films)[:2], strict=True):
        np.testing.assert_allclose(found, expected, atol=0.02 if precision == "int8" else 2e-3)
    held = {tensor.name: tensor.data_type for tensor in lowered.graph.initializer}
    assert {held[name] for name in CALIBRATION_INITIALISERS} == {TensorProto.FLOAT}
    if precision != "float32":
        assert KIND[precision] in held.values()
        assert lowered.ByteSize() < 0.6 * graph.ByteSize()


def test_int8_keeps_head_and_everything_after_it_in_float32(graph, films):
    lowered = lower(graph, "int8", films)
    makers = {output: node for node in lowered.graph.node for output in node.output}
    for node in lowered.graph.node:
        if node.op_type in ("Gemm", "Sigmoid", "Log", "ReduceMean") and not inside_member(node.name):
            assert all(makers[name].op_type != "DequantizeLinear" for name in node.input if name in makers)


def test_int8_without_films_is_refused(graph):
    with pytest.raises(ExportError, match="int8 needs real films"):
        lower(graph, "int8", [])


def test_unknown_precision(graph):
    with pytest.raises(ExportError, match="unknown precision 'int4'"):
        lower(graph, "int4", [])


def test_weights_beyond_float16_stay_float32(graph):
    wide = onnx.ModelProto()
    wide.CopyFrom(graph)
    tensor = max(wide.graph.initializer, key=lambda item: int(np.prod(item.dims)))
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[0] = 1e6
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    held = {item.name: item.data_type for item in float16_weights(wide).graph.initializer}
    assert held[tensor.name] == TensorProto.FLOAT
    with pytest.raises(ExportError, match="outside float16's range"):
        lower(wide, "float16", [])
