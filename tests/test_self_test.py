"""The self-test in a model file: a wrong runtime is caught, a right one passes."""

from __future__ import annotations

import numpy as np
import pytest

import xraytransfer
from xraytransfer.errors import DeviceError, ModelFileError
from xraytransfer.model_file import describe
from xraytransfer.self_test import SelfTest, made_picture

ENTRY = {"rows": 700, "columns": 600, "detail": 2, "probability": [0.5] * 6, "tolerance": 0.003}


def test_the_picture_is_what_its_formula_says():
    picture = made_picture(7, 9, 2)
    for row in range(7):
        for column in range(9):
            ground = 160 - 600 * column * (9 - 1 - column) // (9 * 9) + 48 * ((row + column) // 2 % 2)
            assert picture[row, column] == ground
    large = made_picture(700, 600, 2)
    assert (large.min(), large.max()) == (11, 208)
    assert made_picture(8192, 8192, 1).min() >= 10  # no number of the formula overflows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows of self_test is 0"),
        ({"detail": True}, "detail of self_test is True"),
        ({"columns": 10**9}, "columns of self_test"),
        ({"probability": [0.5] * 5}, "list of 6"),
        ({"probability": [0.5] * 5 + [2]}, "no number from 0 to 1"),
        ({"tolerance": None}, "no number from 0 to 1"),
    ],
)
def test_a_bad_entry_is_refused_here_and_by_the_schema(toy_model_writer, tmp_path, change, message):
    toy_model_writer(tmp_path / "bad.onnx", self_test={**ENTRY, **change})
    with pytest.raises(ModelFileError, match=message):
        describe(tmp_path / "bad.onnx")
    jsonschema = pytest.importorskip("jsonschema")
    from xraytransfer.model_metadata import schema

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**ENTRY, **change}, schema()["properties"]["self_test"])


def test_files_of_earlier_versions_have_none(toy_model):
    assert describe(toy_model).self_test is None
    assert xraytransfer.load(toy_model, device="cpu").self_test() is None


def test_a_classifier_whose_runtime_computes_something_else_says_so(toy_model_writer, tmp_path):
    toy_model_writer(tmp_path / "toy.onnx", self_test=ENTRY)
    classifier = xraytransfer.load(tmp_path / "toy.onnx", device="cpu")
    with pytest.raises(
        DeviceError, match=r"toy.onnx on CPUExecutionProvider: the self-test fails: .* \(allowed 0.003\)"
    ):
        classifier.self_test()


class Answers:
    """A session of ONNX Runtime that answers what another runtime says."""

    def __init__(self, run) -> None:
        self._run = run

    def get_inputs(self):
        return [type("Input", (), {"name": "image", "type": "tensor(uint8)"})]

    def run(self, names, feeds):
        return [self._run(feeds)[name] for name in names]


def test_not_a_number_is_no_right_answer():
    test = SelfTest.from_document({"self_test": ENTRY})
    with pytest.raises(DeviceError, match="differs by nan"):
        test.require(Answers(lambda _: {"probability": np.full((1, 6), np.nan)}), "x")


@pytest.fixture(scope="module")
def renewed(tmp_path_factory):
    pytest.importorskip("onnx")
    from xraytransfer.export.file_copies import renewed_copy

    folder = tmp_path_factory.mktemp("renewed")
    return {name: renewed_copy(name, folder / f"{name}.onnx") for name in ("default", "default-small")}


@pytest.fixture(scope="module")
def openvino():
    """Return a function that opens a file in OpenVINO as if it was a session."""
    library = pytest.importorskip("openvino")
    core = library.Core()

    def opened(path, precision):
        return Answers(core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": precision}))

    return opened


@pytest.mark.parametrize("name", ["default", "default-small"])
def test_a_right_runtime_passes(renewed, openvino, name):
    test = describe(renewed[name]).self_test
    assert test.require(openvino(renewed[name], "f32"), "OpenVINO") <= test.tolerance


@pytest.mark.parametrize("name", ["default", "default-small"])
def test_a_runtime_that_ignores_antialiasing_is_caught(renewed, name):
    """The film is sampled, as OpenVINO does with files that hold a Resize node: see the next test."""
    from xraytransfer.export.checks.self_test import sampled

    description = describe(renewed[name])
    session = xraytransfer.load(renewed[name], device="cpu")._session

    def run(feeds):
        film = sampled(feeds["image"][0, 0], description.resolution)
        return {"probability": session.run(["probability"], {"image": film[None, None]})[0]}

    with pytest.raises(DeviceError, match=r"differs by 0\.[1-9]"):
        description.self_test.require(Answers(run), "x")
    assert description.document["self_test"]["without_antialiasing"] >= 0.05


@pytest.mark.parametrize("name", ["default", "default-small"])
def test_openvino_with_a_resize_node_is_caught(renewed, openvino, name, tmp_path):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "resize.onnx"
    onnx.save(with_resize_node(onnx, onnx.load(renewed[name])), path)
    with pytest.raises(DeviceError, match="self-test fails"):
        describe(renewed[name]).self_test.require(openvino(path, "f32"), "OpenVINO")


def with_resize_node(onnx, model):
    """Return a graph of today with the Resize node that version 0.1 had."""
    graph, helper = model.graph, onnx.helper
    shape = onnx.numpy_helper.from_array(np.array([1, 1, 128, 128]), "old_shape")
    graph.initializer.append(shape)
    options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "antialias": 1, "exclude_outside": 1}
    nodes = [
        helper.make_node("Resize", ["image", "", "", "old_shape"], ["old_resized"], "old_resize", **options),
        helper.make_node("Cast", ["old_resized"], ["pixels"], "old_cast", to=onnx.TensorProto.FLOAT),
        *(node for node in graph.node if not (node.output[0] + "/").startswith(("pixels/", "resize/"))),
    ]
    kept = [tensor for tensor in graph.initializer if not tensor.name.startswith("resize/")]
    for field, values in ((graph.node, nodes), (graph.initializer, kept)):
        del field[:]
        field.extend(values)
    new = onnx.version_converter.convert_version(model, 18)
    new.ir_version = 8
    return new


def test_bfloat16_is_caught_where_it_is_beyond_the_tolerance(renewed, openvino):
    import openvino as library

    if "BF16" not in library.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    with pytest.raises(DeviceError, match="self-test fails"):
        describe(renewed["default"]).self_test.require(openvino(renewed["default"], "bf16"), "OpenVINO")
