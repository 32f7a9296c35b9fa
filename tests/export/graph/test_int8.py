"""int8: what is written otherwise before it is converted, and what that leaves to compute."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from xraytransfer.export.graph.int8 import calibration_films, int8_graph
from xraytransfer.export.graph.rewriting import with_unshared_int8
from xraytransfer.runtime import session_options


@pytest.fixture(scope="module")
def films():
    return list(np.random.default_rng(0).integers(0, 256, (16, 24, 20), dtype=np.uint8))


def network(factor=1.0, width=1.0):
    """Return a network with the parts of a DenseNet: pooling, layers that concatenate all before, normalisations."""
    rng = np.random.default_rng(0)
    tensors, nodes = [], []

    def weight(name, values):
        tensors.append(numpy_helper.from_array(np.asarray(values, np.float32), f"member0/{name}"))
        return name

    def node(kind, inputs, output, **more):
        names = [name if name == "cast" else f"member0/{name}" for name in inputs]
        nodes.append(helper.make_node(kind, names, [f"member0/{output}"], name=f"member0/{output}_node", **more))

    def layer(number, features, channels):
        node("Concat", features, f"cat{number}", axis=1)
        parts = [
            weight(f"{part}{number}", values)
            for part, values in (
                ("gamma", rng.uniform(0.5, 2, channels) * rng.choice([-1, 1], channels) * factor),
                ("beta", rng.normal(size=channels)),
                ("mean", rng.normal(size=channels)),
                ("variance", rng.uniform(0.5, 2, channels)),
            )
        ]
        node("BatchNormalization", [f"cat{number}", *parts], f"norm{number}", epsilon=1e-3)
        node("Relu", [f"norm{number}"], f"relu{number}")
        kernel = weight(f"w{number}", rng.normal(size=(8, channels, 3, 3)) / np.sqrt(9 * channels))
        node("Conv", [f"relu{number}", kernel], f"new{number}", pads=[1] * 4)

    nodes.append(helper.make_node("Cast", ["image"], ["grey"], name="grey", to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Mul", ["grey", "small"], ["cast"], name="cast"))
    tensors.append(numpy_helper.from_array(np.float32(1 / 255), "small"))
    node("Conv", ["cast", weight("first", width * rng.normal(size=(8, 1, 3, 3)))], "a", pads=[1] * 4)
    node("Relu", ["a"], "b")
    node("MaxPool", ["b"], "pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    bias = weight("bias", rng.normal(size=8))
    node("Conv", ["pool", weight("second", rng.normal(size=(8, 8, 3, 3)) / 8), bias], "new0", pads=[1] * 4)
    layer(1, ["pool", "new0"], 16)
    layer(2, ["pool", "new0", "new1"], 24)
    layer(3, ["pool", "new0", "new1", "new2"], 32)
    node("Relu", ["new3"], "last")
    nodes.append(helper.make_node("GlobalAveragePool", ["member0/last"], ["out"], name="average"))
    return as_model(nodes, tensors)


def as_model(nodes, tensors):
    """Return nodes from ``image`` to ``out``, eight channels, as a model."""
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 8, 1, 1])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def lowered(model, films):
    before = model.SerializeToString()
    found = int8_graph(model, films, head_depth=1)
    assert model.SerializeToString() == before
    onnx.checker.check_model(found)
    return found


def answers(model, films):
    session = ort.InferenceSession(
        model.SerializeToString(), session_options(threads=1), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"image": np.stack(films)[:, None]})[0]


def operators(model):
    return [node.op_type for node in model.graph.node]


def run_as(model, folder):
    """Return the operators that ONNX Runtime makes of a graph."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(folder / "run.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "run.onnx").graph.node]


def test_answers_stay_near(model, lowered, films):
    expected, found = answers(model, films), answers(lowered, films)
    np.testing.assert_allclose(found, expected, atol=0.02 * float(np.abs(expected).max()))


def test_normalisations_become_convolutions_and_nothing_between_them_is_float32(lowered, tmp_path):
    assert "BatchNormalization" not in operators(lowered)
    run = run_as(lowered, tmp_path)
    assert run.count("QLinearConv") == 1 + 2 * 3
    assert run.count("QLinearConcat") == 3
    assert run.count("QuantizeLinear") == 1
    assert run.count("DequantizeLinear") <= 2


def test_what_is_concatenated_shares_one_scale(lowered):
    maker = {output: node for node in lowered.graph.node for output in node.output}
    quantised = [node for node in lowered.graph.node if node.op_type == "QuantizeLinear"]
    scales = set()
    for node in lowered.graph.node:
        if node.op_type == "Concat":
            assert [maker[name].op_type for name in node.input] == ["DequantizeLinear"] * 2  # each begins with the last
            scales |= {maker[name].input[1] for name in node.input}
            scales |= {each.input[1] for each in quantised if each.input[0] == node.output[0]}
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in lowered.graph.initializer}
    assert len({float(held[name]) for name in scales}) == 1


def test_the_first_pooling_is_float32_and_comes_before_its_relu(lowered, tmp_path):
    maker = {output: node for node in lowered.graph.node for output in node.output}
    (largest,) = (node for node in lowered.graph.node if node.op_type == "Max")
    pool = maker[largest.input[0]]
    assert (pool.op_type, maker[pool.input[0]].op_type) == ("MaxPool", "Conv")
    run = run_as(lowered, tmp_path)
    assert run.index("MaxPool") < run.index("QuantizeLinear")


def test_what_belongs_to_the_head_is_left_as_it_is(model, films):
    assert operators(int8_graph(model, films[:1], head_depth=99)) == operators(model)


def test_members_that_are_spared_are_left_as_they_are(model, films):
    assert operators(int8_graph(model, films, head_depth=1, float_members=[0])) == operators(model)


def test_each_member_is_converted_by_itself(model, lowered, films):
    """A second member changes nothing in the first one's weights and ranges."""
    two = onnx.ModelProto()
    two.CopyFrom(model)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("member0/"):
            copied = two.graph.initializer.add()
            copied.CopyFrom(tensor)
            copied.name = tensor.name.replace("member0/", "member1/")
    for node in model.graph.node:
        if "member0/" in node.name or node.name == "average":
            copied = two.graph.node.add()
            copied.CopyFrom(node)
            copied.name = node.name.replace("member0/", "member1/").replace("average", "average1")
            copied.input[:] = [name.replace("member0/", "member1/") for name in node.input]
            copied.output[:] = [name.replace("member0/", "member1/").replace("out", "out1") for name in node.output]
    two.graph.output.add().CopyFrom(helper.make_tensor_value_info("out1", TensorProto.FLOAT, ["n", 8, 1, 1]))
    found = int8_graph(two, films, head_depth=1)
    onnx.checker.check_model(found)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in found.graph.initializer}
    for tensor in lowered.graph.initializer:
        for name in {tensor.name, tensor.name.replace("member0/", "member1/")}:
            np.testing.assert_array_equal(held[name], numpy_helper.to_array(tensor))
    first = int8_graph(two, films, head_depth=1, float_members=[1])
    assert [operators(found).count(kind) for kind in ("BatchNormalization", "Max")] == [0, 2]
    assert [operators(first).count(kind) for kind in ("BatchNormalization", "Max")] == [3, 1]


@pytest.mark.parametrize("factor", [0.0, 1e-30])
def test_a_channel_that_is_switched_off_stays_so(films, factor):
    """Pruned, or never woken up: what is left of it is its offset, small beside what it is concatenated from."""
    model = network(factor=factor, width=300.0)
    expected = answers(model, films)
    found = answers(int8_graph(model, films, head_depth=1), films)
    np.testing.assert_allclose(found, expected, atol=0.02 * float(np.abs(expected).max()))


@pytest.mark.parametrize(("kind", "bounds"), [("Relu", ()), ("Clip", (-0.2, 0.3))])
def test_what_ends_at_a_bound_still_does_beside_what_does_not(films, kind, bounds):
    """The quantiser drops a ReLU whose tensor's range begins at 0."""
    rng = np.random.default_rng(1)
    shapes = {"first": (8, 1, 3, 3), "one": (8, 8, 3, 3), "two": (8, 8, 3, 3), "last": (8, 16, 3, 3)}
    tensors = [
        numpy_helper.from_array((rng.normal(size=shape) / np.sqrt(9 * shape[1])).astype(np.float32), f"member0/{name}")
        for name, shape in shapes.items()
    ]
    tensors += [numpy_helper.from_array(np.float32(value), f"member0/{index}") for index, value in enumerate(bounds)]
    tensors.append(numpy_helper.from_array(np.float32(1 / 255), "small"))
    links = [
        ("Conv", ["cast", "first"], "a"),
        ("Conv", ["a", "one"], "b"),
        (kind, ["b", *map(str, range(len(bounds)))], "ended"),
        ("Conv", ["a", "two"], "free"),
        ("Concat", ["ended", "free"], "both"),
        ("Conv", ["both", "last"], "c"),
        ("Relu", ["c"], "d"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], name="grey", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["grey", "small"], ["cast"], name="cast"),
    ]
    for operator, inputs, output in links:
        names = [name if name == "cast" else f"member0/{name}" for name in inputs]
        more = {"Conv": {"pads": [1] * 4}, "Concat": {"axis": 1}}.get(operator, {})
        nodes.append(helper.make_node(operator, names, [f"member0/{output}"], name=f"member0/{output}_node", **more))
    nodes.append(helper.make_node("GlobalAveragePool", ["member0/d"], ["out"], name="average"))
    model = as_model(nodes, tensors)
    expected, found = answers(model, films), answers(int8_graph(model, films, head_depth=1), films)
    np.testing.assert_allclose(found, expected, atol=0.03 * float(np.abs(expected).max()))


@pytest.mark.parametrize(("count", "expected"), [(3, 3), (1000, 64)])
def test_calibration_films_are_training_films_evenly_spread(count, expected):
    pixels = np.arange(2 * count, dtype=np.uint8)[:, None, None]
    rows = {"train": np.arange(count, 2 * count), "validation": np.arange(count)}
    films = calibration_films(SimpleNamespace(pixels=pixels, rows=rows))
    assert len(films) == expected
    np.testing.assert_array_equal(films[0], pixels[count])
    np.testing.assert_array_equal(films[-1], pixels[2 * count - 1])


def test_nodes_that_share_weights_get_their_own(lowered, films):
    """As graph tools leave them: ONNX Runtime cannot open such a graph with `session_options` on some processors."""
    shared = onnx.ModelProto()
    shared.CopyFrom(lowered)
    first: dict[tuple[int, bytes], str] = {}
    same = {
        t.name: first.setdefault((t.data_type, t.SerializeToString().replace(t.name.encode(), b"")), t.name)
        for t in shared.graph.initializer
    }
    for node in shared.graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]
    assert len(int8_inputs(shared)) > len(set(int8_inputs(shared)))
    own = with_unshared_int8(shared)
    assert len(int8_inputs(own)) == len(set(int8_inputs(own))) == len(int8_inputs(shared))
    np.testing.assert_array_equal(answers(own, films), answers(lowered, films))


def int8_inputs(model):
    int8 = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8}
    return [name for node in model.graph.node for name in node.input if name in int8]
