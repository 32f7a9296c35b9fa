"""The resize as matrix products: equal to ONNX's antialiased Resize and to Pillow's, with no Resize node."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from xraytransfer.export.graph.opset import lower_opset
from xraytransfer.export.graph.resizing import (
    PIXELS,
    add_any_input,
    add_fixed_input,
    add_fixed_resize,
    weights,
)
from xraytransfer.resize import resize

SIZES = [(64, 48), (200, 160), (333, 64), (31, 90), (1, 1), (7, 500), (1, 5000), (700, 600), (2500, 2048)]
RESOLUTION = (64, 48)
STRIPS = [f"resize/{axis}/{name}" for axis in ("columns", "rows") for name in ("first", "weights")]


def session_of(graph, output):
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 1, "rows", "columns"]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    lower_opset(model)
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def any_input():
    graph = helper.make_graph([], "front", [], [])
    add_any_input(graph, RESOLUTION)
    for name in STRIPS:
        kind, axes = (TensorProto.FLOAT, 3) if name.endswith("weights") else (TensorProto.INT64, 1)
        sides = [f"{name}/{axis}" for axis in range(axes)]
        graph.output.append(helper.make_tensor_value_info(name, kind, sides))
    return session_of(graph, PIXELS)


@pytest.fixture(scope="module")
def antialiased():
    """Return ONNX Runtime's antialiased Resize, in float32."""
    node = helper.make_node(
        "Resize",
        ["x", "", "", "sizes"],
        ["y"],
        mode="linear",
        antialias=1,
        exclude_outside=1,
        coordinate_transformation_mode="half_pixel",
    )
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, *sides])
        for name, sides in (("x", ["h", "w"]), ("y", RESOLUTION))
    ]
    sizes = onnx.numpy_helper.from_array(np.array([1, 1, *RESOLUTION]), "sizes")
    graph = helper.make_graph([node], "resize", values[:1], values[1:], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def noise(size):
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_weights_of_the_graph_are_those_of_the_antialiased_resize(any_input, antialiased, size):
    film = noise(size)
    first_columns, columns, first_rows, rows = run(any_input, film, STRIPS)
    columns = whole_matrix(first_columns, columns.transpose(0, 2, 1), size[1]).T
    rows = whole_matrix(first_rows, rows, size[0])
    np.testing.assert_allclose(columns.T, weights(size[1], RESOLUTION[1]), atol=2**-22)  # a step of Pillow's weights
    np.testing.assert_allclose(rows, weights(size[0], RESOLUTION[0]), atol=2**-22)
    (expected,) = antialiased.run(None, {"x": film[None, None].astype(np.float32)})
    assert np.abs(rows @ film.astype(np.float32) @ columns - expected[0, 0]).max() <= 1e-4 * 255


def whole_matrix(first, strips, length):
    """Return the weights of all positions from those of each strip, whose positions begin at `first`."""
    whole = np.zeros((*strips.shape[:2], length), np.float32)
    for matrix, start, strip in zip(whole, first, strips, strict=True):
        matrix[:, start : start + strip.shape[1]] = strip
    return whole.reshape(-1, length)


def run(session, film, names=(PIXELS,)):
    return session.run(list(names), {"image": film[None, None]})


@pytest.mark.parametrize("size", SIZES)
def test_resize_in_the_graph_is_pillows_but_for_single_grey_levels(any_input, size):
    film = noise(size)
    found = run(any_input, film)[0][0, 0]
    difference = np.abs(found - resize(film, RESOLUTION).astype(float))
    assert difference.max() <= 1
    if min(size) > 500:  # of a film's size; in small ones exact halves are usual, which Pillow takes either way
        assert (difference > 0).mean() <= 0.002
    if size in (RESOLUTION, (1, 1)):
        assert difference.max() == 0


def test_exact_halves_go_upwards(any_input):
    film = np.tile(np.array([[0, 1], [1, 0]], np.uint8), (64, 48))  # twice the size: each mean is a half
    film[:, :] = np.arange(96) % 2  # 0 1 0 1: weights 1 3 3 1 give 1/2
    np.testing.assert_array_equal(run(any_input, film)[0][0, 0, :, 1:-1], 1)


@pytest.mark.parametrize("resolution", [(1, 1), (13, 9), (7, 6), (320, 224)])
@pytest.mark.parametrize("size", [(1, 1), (2, 300), (1023, 17), (640, 481)])
def test_strips_cover_every_weight_at_every_resolution(resolution, size):
    graph = helper.make_graph([], "front", [], [])
    add_any_input(graph, resolution)
    film = noise(size)
    (found,) = run(session_of(graph, PIXELS), film)
    assert np.abs(found[0, 0] - resize(film, resolution).astype(float)).max() <= 1


@pytest.mark.parametrize(("size", "target"), [((64, 48), (32, 32)), ((4, 4), (9, 7)), ((5, 5), (5, 5))])
def test_fixed_sizes_have_constant_weights(size, target):
    graph = helper.make_graph([], "fixed", [], [])
    add_fixed_input(graph, size, kind="float32")
    add_fixed_resize(graph, PIXELS, (size, target), "small", rounded=True)
    film = noise(size)
    (found,) = session_of(graph, "small").run(["small"], {"image": film[None, None].astype(np.float32)})
    assert np.abs(found[0, 0] - resize(film, target)).max() <= 1


def test_enlarging_maps_is_ordinary_bilinear_interpolation():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).normal(size=(1, 6, 4, 3)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(values), (8, 9), mode="bilinear").numpy()
    np.testing.assert_allclose(weights(4, 8) @ values @ weights(3, 9).T, expected, atol=1e-6)
