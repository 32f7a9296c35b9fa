"""The lowest opset: older forms of operators say the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from xraytransfer.errors import ExportError
from xraytransfer.export.graph.opset import lower_opset


def model_of(nodes, constants=(), shape=("batch", 3, 4)):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(values, np.int64), name) for name, values in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def answer(model):
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32) * 4
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


NODES = {
    "mean": ([helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=1)], [("axes", [1])], ("batch", 1, 4)),
    "means": (
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Mean", ["x", "r", "x"], ["y"], "y")],
        [],
    ),
    "swish": ([helper.make_node("HardSwish", ["x"], ["y"], "swish")], []),
    "shape": (
        [
            helper.make_node("Shape", ["x"], ["sides"], "sides", start=0, end=1),
            helper.make_node("Concat", ["sides", "rest"], ["shape"], "shape", axis=0),
            helper.make_node("Reshape", ["x", "shape"], ["y"], "y"),
        ],
        [("rest", [12])],
        ("batch", 12),
    ),
    "reshape": ([helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1)], [("shape", [-1, 6])], ("rows", 6)),
}


@pytest.mark.parametrize("name", NODES)
def test_older_forms_answer_the_same(name):
    model = model_of(*NODES[name])
    before = answer(model)
    lower_opset(model)
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    np.testing.assert_allclose(answer(model), before, atol=1e-6)


def test_an_operator_that_is_younger_keeps_its_opset():
    model = model_of([helper.make_node("Gelu", ["x"], ["y"])])
    lower_opset(model)
    assert model.opset_import[0].version == 20


def test_a_shape_with_a_zero_keeps_allowzero():
    model = model_of([helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1)], [("shape", [0, 12])], (0, 12))
    lower_opset(model)
    assert model.opset_import[0].version == 14


def test_an_invalid_graph_is_refused():
    with pytest.raises(ExportError, match="no valid one at opset 20: "):
        lower_opset(model_of([helper.make_node("Relu", ["absent"], ["y"])]))


def test_nothing_is_left_at_an_older_checker(tmp_path):
    model = model_of(*NODES["shape"])
    lower_opset(model)
    onnx.save(model, tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
