"""Copies of model files: fixed inputs, files of version 0.1 in today's form, files that a graph tool rewrote."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

onnx = pytest.importorskip("onnx")

import xraytransfer  # noqa: E402
from xraytransfer.cli.models import models  # noqa: E402
from xraytransfer.errors import ExportError, ModelFileError  # noqa: E402
from xraytransfer.export.file_copies import fixed_copy, renewed_copy, seal  # noqa: E402
from xraytransfer.export.graph.model_writer import serialise  # noqa: E402
from xraytransfer.model_file import METADATA_KEY, describe, parse, read  # noqa: E402
from xraytransfer.model_summary import summary, verified  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("copies")


@pytest.fixture(scope="module")
def renewed(folder):
    return renewed_copy("default-small", folder / "renewed.onnx")


@pytest.fixture(scope="module")
def film(sample_film):
    return xraytransfer.read_radiograph(sample_film("RG1_UNCR"))


def probability(model, film):
    return xraytransfer.load(model, device="cpu").predict(film).probability


def test_a_file_of_version_0_1_in_todays_form(renewed, film):
    model = onnx.load(renewed)
    assert "Resize" not in {node.op_type for node in model.graph.node}
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    onnx.checker.check_model(model, full_check=True)
    assert describe(renewed).document["schema_version"] == 3
    assert describe(renewed).document["made_from"] == describe("default-small").sha256
    np.testing.assert_array_equal(probability(renewed, film), probability("default-small", film))
    assert "self-test: " in verified(renewed, "cpu")


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_a_fixed_input_is_scored_too(kind, film, folder):
    path = fixed_copy("default", folder / f"fixed-{kind}.onnx", kind=kind)
    assert describe(path).fixed_input
    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    # a Gather at a constant place takes a number out; at a computed one it is shape arithmetic
    operators = {node.op_type for node in graph.node if node.op_type != "Gather" or node.input[1] not in constants}
    assert not operators & {"Resize", "Range", "Abs", "Shape", "Expand", "Gather"}
    np.testing.assert_array_equal(probability(path, film), probability("default", film))
    classifier = xraytransfer.load(path, device="cpu")
    many = list(classifier.predict_many([film, film], batch_size=2))
    np.testing.assert_allclose(many[1].probability, probability("default", film), atol=1e-6)
    assert "self-test: " in verified(path, "cpu")


def test_a_fixed_input_refuses_another_size(folder, film):
    path = fixed_copy("default-small", folder / "fixed-small.onnx")
    session = xraytransfer.load(path, device="cpu")._session
    with pytest.raises(Exception, match=r"Got invalid dimensions for input: image(.|\n)*Expected: 128"):
        session.run(None, {"image": film.pixels[None, None]})


def test_float32_weights_are_the_same_numbers(folder, film):
    path = fixed_copy("default", folder / "wide.onnx", kind="float32", float32_weights=True)
    graph = onnx.load(path).graph
    assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in graph.initializer}
    assert describe(path).document["precision"] == "float32"
    np.testing.assert_array_equal(probability(path, film), probability("default", film))
    with pytest.raises(ExportError, match="computes in int8"):
        fixed_copy("default-small", folder / "none.onnx", float32_weights=True)


def test_a_description_that_names_another_input_is_refused(folder, renewed):
    document = describe(renewed).document
    wrong = folder / "wrong-input.onnx"
    wrong.write_bytes(serialise(onnx.load(renewed), {**document, "input": {**document["input"], "size": "fixed"}}))
    with pytest.raises(ModelFileError, match=r"names an input of \[128, 128\] alone, its graph one of \['height'"):
        xraytransfer.load(wrong, device="cpu")


def rewritten(renewed, path, change=lambda graph: None):
    """Write what a graph tool would: other names, the description as it was."""
    model = onnx.load(renewed)
    model.producer_name = "graph tool"
    change(model.graph)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_rewritten_file_is_told_from_a_damaged_one_and_sealed(renewed, folder, film):
    path = rewritten(renewed, folder / "rewritten.onnx")
    with pytest.raises(ModelFileError, match=r"rewritten by another program .*models seal") as raised:
        read(path, verify=True)
    assert "damaged" not in str(raised.value)
    result = CliRunner().invoke(models, ["seal", str(path), "--original", str(renewed)])
    assert result.exit_code == 0, result.output
    assert read(path, verify=True)[0].document["made_from"] == describe(renewed).sha256
    np.testing.assert_array_equal(probability(path, film), probability(renewed, film))


def test_a_flipped_bit_is_damage(renewed):
    data = bytearray(renewed.read_bytes())
    data[len(data) // 4] ^= 1
    with pytest.raises(ModelFileError, match=r"damaged: .*fetch or export it again"):
        parse(bytes(data), renewed, verify=True)


def test_a_file_that_answers_otherwise_is_not_sealed(renewed, folder):
    def change(graph):
        tensor = next(each for each in graph.initializer if each.name == "resize/half_step")
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(3e6), tensor.name))  # every weight far too large

    path = rewritten(renewed, folder / "otherwise.onnx", change)
    before = path.read_bytes()
    with pytest.raises(ExportError, match=r"does not answer as .* does: .*no file was written"):
        seal(path, original=renewed)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["calibration_c", "judge/"])
def test_another_calibration_or_quality_gate_is_not_sealed(renewed, folder, name):
    def change(graph):
        for tensor in graph.initializer:
            if tensor.name.startswith(name) and tensor.data_type == onnx.TensorProto.FLOAT:
                values = onnx.numpy_helper.to_array(tensor) + np.float32(0.5)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    path = rewritten(renewed, folder / "other-numbers.onnx", change)
    with pytest.raises(ExportError, match=r"does not answer as .* does: an output differs by"):
        seal(path, original=renewed)


def test_a_renewed_file_is_only_copied(renewed, folder):
    said = []
    again = renewed_copy(renewed, folder / "again.onnx", log=said.append)
    assert said[0] == f"{renewed}: has today's form already, and is only copied"
    assert describe(again).graph_sha256 == describe(renewed).graph_sha256


def test_seal_needs_the_right_original(folder):
    original = fixed_copy("default", folder / "no-shipped-file.onnx")
    path = rewritten(original, folder / "whose.onnx")
    with pytest.raises(ExportError, match="name the original with --original"):
        seal(path)
    with pytest.raises(ExportError, match="made of another file than default-small"):
        seal(path, original="default-small")
    bare = onnx.load(path)
    del bare.metadata_props[:]
    path.write_bytes(bare.SerializeToString())
    with pytest.raises(ExportError, match="dropped the description"):
        seal(path)
    sealed = seal(path, original=original, out=folder / "sealed.onnx")
    assert read(sealed, verify=True)[0].name == "default"
    with pytest.raises(ExportError, match=r"whose\.onnx: was not made of .*default-small.*any size"):
        seal(path, original="default-small", out=folder / "other.onnx")
    with pytest.raises(ExportError, match=r"sealed\.onnx: exists"):
        seal(path, original=original, out=sealed)
    assert "films of this size only (uint8)" in summary(describe(sealed))
    assert seal(path, original=original, out=sealed, overwrite=True) == sealed


@pytest.mark.parametrize("content", [b"", b"not onnx", b"\n\x0cxraytransfer\x12"])
def test_what_is_no_model_is_not_sealed(folder, content):
    path = folder / "none-of-ours.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"none-of-ours\.onnx: "):
        seal(path, original="default-small")


def test_no_torch_is_needed_and_a_missing_onnx_says_the_command(tmp_path):
    script = """
import sys
from click.testing import CliRunner
for name in BLOCKED:
    sys.modules[name] = None
from xraytransfer.cli.entry import cli
result = CliRunner().invoke(cli, ["models", "fixed", "default-small", "-o", "fixed.onnx"])
print(result.output, result.exception)
"""

    def run(*blocked):
        text = script.replace("BLOCKED", json.dumps(blocked))
        return subprocess.run([sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, check=True)

    assert "pip install 'xraytransfer[onnx]'" in run("onnx").stdout
    assert "largest difference of an output" in run("torch", "timm", "matplotlib", "scipy", "onnxscript").stdout
    assert (tmp_path / "fixed.onnx").is_file()


def test_metadata_key_is_kept(renewed):
    assert [entry.key for entry in onnx.load(renewed).metadata_props] == [METADATA_KEY]
