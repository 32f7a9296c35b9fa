"""Precisions: what is stored, what stays float32, and that answers stay near."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from xraytransfer.errors import ExportError
from xraytransfer.export.options import PRECISIONS
from xraytransfer.export.precision import float16_weights, lower
from xraytransfer.export.to_onnx import CALIBRATION_INITIALISERS, build_graph, inside_member
from xraytransfer.study.architectures import find_architecture
from xraytransfer.study.network import build_network

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


def test_int8_leaves_what_a_normalisation_follows_unconverted(films):
    """Hand-made, as a DenseNet's layer: two convolutions, concatenated, normalised, convolved."""
    rng = np.random.default_rng(0)
    one, two, last = (
        onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), f"member0/{name}")
        for name, shape in (("w1", (8, 3, 3, 3)), ("w2", (8, 8, 3, 3)), ("w3", (8, 16, 1, 1)))
    )
    scale = onnx.numpy_helper.from_array(np.ones(16, np.float32), "member0/ones")
    zero = onnx.numpy_helper.from_array(np.zeros(16, np.float32), "member0/zeros")

    def node(kind, inputs, output, **more):
        names = [name if name == "cast" else f"member0/{name}" for name in inputs]
        return onnx.helper.make_node(kind, names, [f"member0/{output}"], name=f"member0/{output}", **more)

    nodes = [
        onnx.helper.make_node("Cast", ["image"], ["grey"], name="cast", to=TensorProto.FLOAT),
        onnx.helper.make_node("Concat", ["grey"] * 3, ["cast"], name="three", axis=1),
        node("Conv", ["cast", "w1"], "a", pads=[1] * 4),
        node("Conv", ["a", "w2"], "b", pads=[1] * 4),
        node("Concat", ["a", "b"], "c", axis=1),
        node("BatchNormalization", ["c", "ones", "zeros", "zeros", "ones"], "d"),
        node("Relu", ["d"], "e"),
        node("Conv", ["e", "w3"], "f"),
        node("Relu", ["f"], "g"),
        onnx.helper.make_node("GlobalAveragePool", ["member0/g"], ["out"], name="pool"),
    ]
    sizes = ["n", 1, "h", "w"], ["n", 8, 1, 1]
    graph = onnx.helper.make_graph(
        nodes,
        "layer",
        [onnx.helper.make_tensor_value_info("image", TensorProto.UINT8, sizes[0])],
        [onnx.helper.make_tensor_value_info("out", TensorProto.FLOAT, sizes[1])],
        [one, two, last, scale, zero],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    lowered = lower(model, "int8", films, head_depth=1)
    makers = {output: found for found in lowered.graph.node for output in found.output}
    normalised = next(found for found in lowered.graph.node if found.op_type == "BatchNormalization")
    concat = makers[normalised.input[0]]
    assert concat.op_type == "Concat"
    assert any(found.op_type == "QuantizeLinear" for found in lowered.graph.node)
    expected, found = (answers(which, films)[0] for which in (model, lowered))
    np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.02 * float(np.abs(expected).max()))
