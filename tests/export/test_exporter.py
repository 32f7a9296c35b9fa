"""Export from run folders to model file: every gate, every option, every refusal."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import xraytransfer
from xraytransfer.errors import DeviceError, ExportError, StudyError
from xraytransfer.export.checks import release_checks
from xraytransfer.export.cli import export
from xraytransfer.export.exporter import export_runs
from xraytransfer.export.graph import model_writer
from xraytransfer.export.options import ExportOptions
from xraytransfer.export.triton import config_text
from xraytransfer.model_file import INPUT, OUTPUTS, describe, read
from xraytransfer.model_metadata import check_metadata, schema
from xraytransfer.model_summary import summary, verified
from xraytransfer.radiograph import read_radiograph
from xraytransfer.resize import resize
from xraytransfer.runtime import gpu_problem
from xraytransfer.study.training.run_folder import load_run

pytestmark = pytest.mark.usefixtures("remembered_traces")


@pytest.fixture(scope="module")
def exported(toy_runs, tmp_path_factory, remembered_traces):
    path = tmp_path_factory.mktemp("exported") / "ensemble.onnx"
    said = []
    export_runs(toy_runs, path, ExportOptions(name="toys", device="cpu"), said.append)
    return path, said


def test_two_architectures_make_one_file_that_fulfils_the_contract(exported):
    path, said = exported
    description, data = read(path, verify=True)
    assert len(description.members) == 5
    assert [row["architecture"] for row in description.members] == ["toy_resnet"] * 3 + ["toy_efficientnet"] * 2
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(description.document, schema())
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 200, 300), (3, 1, 64, 64), (2, 1, 17, 40)):
        image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        probability, members, maps = session.run(list(OUTPUTS), {INPUT: image})
        assert (probability.shape, members.shape) == ((shape[0], 6), (shape[0], 5, 6))
        assert maps.shape[:2] == (shape[0], 6)
    assert any("parity float32" in line for line in said)
    assert describe(path).document["parity"]["passed"]


def test_a_member_of_a_lower_resolution_answers_as_it_was_trained(toy_runs, coarse_run, tmp_path):
    path, said = tmp_path / "two.onnx", []
    options = ExportOptions(device="cpu", checkpoints="best", precision="float16-weights", margin=0.1)
    export_runs([coarse_run, toy_runs[0]], path, options, said.append)
    description = read(path, verify=True)[0]
    assert description.resolution == (64, 64)
    assert [row["resolution"] for row in description.members] == [[48, 48], [64, 64]]
    assert "| 0 | 48 x 48 |" in path.with_suffix(".md").read_text()
    film = toy_runs[0].parents[1] / "films" / "images" / "00000001_000.png"
    prediction = xraytransfer.load(path, device="cpu").predict(film, any_film=True)
    small = resize(resize(read_radiograph(film).pixels, (64, 64)), (48, 48))
    run = load_run(coarse_run)
    with torch.no_grad():
        x = torch.from_numpy(small[None, None].copy()).float()
        expected = run.load_network(run.checkpoints[0])(x).sigmoid().numpy()
    np.testing.assert_allclose(prediction.raw_member_probability[0], expected[0], atol=5e-3)


def test_a_fixed_input(exported, toy_runs, tmp_path):
    path = tmp_path / "fixed.onnx"
    options = ExportOptions(name="toys", device="cpu", input="fixed", input_type="float32")
    export_runs(toy_runs, path, options, lambda line: None)
    description = read(path, verify=True)[0]
    assert description.fixed_input
    assert description.document["input"]["type"] == "float32"
    assert (description.self_test.rows, description.self_test.columns) == description.resolution
    assert "self-test: " in verified(path, "cpu")
    film = np.random.default_rng(0).integers(0, 256, (200, 160), dtype=np.uint8)
    Image.fromarray(film).save(tmp_path / "film.png")
    found, expected = (
        xraytransfer.load(each, device="cpu").predict(tmp_path / "film.png", any_film=True)
        for each in (path, exported[0])
    )
    np.testing.assert_allclose(found.probability, expected.probability, atol=1e-6)
    assert "TYPE_FP32 dims: [ 1, 64, 64 ]" in config_text(description)
    assert "before it is given" in path.with_suffix(".md").read_text()


def test_every_export_has_a_self_test(exported):
    path, said = exported
    assert describe(path).self_test.tolerance == 0.003
    assert any(line.startswith("self-test: a film that is sampled and not averaged") for line in said)


def test_a_type_of_a_fixed_input_means_nothing_for_any_size(tmp_path):
    with pytest.raises(ExportError, match="--input-type float32: means something with --input fixed alone"):
        ExportOptions(input_type="float32").check(tmp_path / "model.onnx")


def test_a_run_that_kept_its_test_patients_is_exported_and_judged_on_them(exported, toy_runs, tmp_path):
    folders = []
    for run in toy_runs:
        folder = tmp_path / "runs" / run.name
        shutil.copytree(run, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "test": "untouched"}))
        (folder / "predictions" / "test.npz").unlink()
        folders.append(folder)
    path = tmp_path / "kept.onnx"
    export_runs(folders, path, ExportOptions(name="toys", device="cpu"), lambda line: None)
    # export scores the test films itself: the one last look
    kept, predicted = describe(path), describe(exported[0])
    assert kept.metrics
    assert kept.metrics == predicted.metrics


def test_answers_are_those_of_the_checkpoints(exported, toy_runs):
    path, _ = exported
    film = toy_runs[0].parents[1] / "films" / "images" / "00000000_000.png"
    prediction = xraytransfer.load(path, device="cpu").predict(film)
    pixels = np.asarray(Image.open(film).resize((64, 64), Image.Resampling.BILINEAR))
    expected = []
    for folder in toy_runs:
        run = load_run(folder)
        for checkpoint in run.checkpoints:
            with torch.no_grad():
                logits = run.load_network(checkpoint)(torch.from_numpy(pixels.copy())[None, None].float())
            expected.append(torch.sigmoid(logits)[0].numpy())
    # an enlarged film may differ by one grey level, a shrunk one in a few pixels
    np.testing.assert_allclose(prediction.raw_member_probability, expected, atol=1e-3)
    document = describe(path).document
    a, b, c = (np.array(document["calibration"]["parameters"][key]) for key in "abc")
    p = prediction.raw_member_probability.mean(axis=0).astype(float)
    calibrated = 1 / (1 + np.exp(-(a * np.log(p) - b * np.log1p(-p) + c)))
    np.testing.assert_allclose(prediction.probability, calibrated, atol=1e-4)  # float32 logarithms


def test_metrics_of_patients_never_seen_with_interval_and_groups(exported):
    document = describe(exported[0]).document
    rows = [row for row in document["metrics"] if row["metric"] == "auroc"]
    assert {row["observation"] for row in rows if row["subset"] == "all"} == {
        "macro",
        *(row["identifier"] for row in document["observations"]),
    }
    assert {"all", "PA", "female"} <= {row["subset"] for row in rows}
    for row in rows:
        if row["value"] is not None and row["lower"] is not None:
            assert row["lower"] <= row["value"] + 0.05 <= row["upper"] + 0.1
            assert row["replicates"] == 1000
    test = document["training"]["split"]["test"]
    assert all(row["patients"] <= test["patients"] for row in rows)


def test_nothing_of_this_machine_stands_in_the_file(exported, toy_runs):
    path, _ = exported
    for file in (path, path.with_suffix(".md"), path.with_suffix(".html")):
        content = file.read_bytes()
        assert str(toy_runs[0].parents[1]).encode() not in content
        assert b"site-packages" not in content


def test_soup_with_float16_weights_tells_both_aurocs(toy_runs, tmp_path):
    options = ExportOptions(fuse="soup", precision="float16-weights", device="cpu")
    document = export_runs(toy_runs, tmp_path / "one.onnx", options)
    one = describe(tmp_path / "one.onnx")
    assert [row["fusion"] for row in one.members] == ["soup", "soup"]
    assert [len(row["checkpoint_steps"]) for row in one.members] == [3, 2]
    assert all(0 <= row["validation_auroc"] <= 1 for row in one.members)
    assert 0 <= document["ensemble"]["checkpoints_validation_auroc"] <= 1
    assert one.document["accuracy"]["passed"]
    assert not list(tmp_path.glob(".*"))


def test_int8_leaves_members_of_named_architectures_alone(toy_runs, tmp_path):
    path = tmp_path / "mixed.onnx"
    options = ExportOptions(
        checkpoints="best", precision="int8", int8_except=("toy_efficientnet",), device="cpu", force=True
    )
    said = []
    export_runs(toy_runs, path, options, said.append)
    description, data = read(path, verify=True)
    assert [row.get("precision") for row in description.members] == [None, "float16-weights"]
    assert "int8, member 1 float16-weights" in path.with_suffix(".md").read_text()
    quantised = [node for node in onnx.load_from_string(data).graph.node if node.op_type == "QuantizeLinear"]
    inside = {node.output[0].partition("/")[0] for node in quantised}
    assert "member0" in inside
    assert "member1" not in inside
    foretold = int(re.search(r"about (\d+) MB", said[0])[1])
    assert foretold == pytest.approx(path.stat().st_size / 1e6, abs=3)
    film = toy_runs[0].parents[1] / "films" / "images" / "00000000_000.png"
    full = tmp_path / "full.onnx"
    export_runs(toy_runs, full, ExportOptions(checkpoints="best", device="cpu"))
    mixed, exact = (xraytransfer.load(file, device="cpu").predict(film).member_probability for file in (path, full))
    np.testing.assert_allclose(mixed[1], exact[1], atol=2e-3)
    assert np.abs(mixed[0] - exact[0]).max() > np.abs(mixed[1] - exact[1]).max()


def test_exceptions_of_int8_that_mean_nothing_are_refused(toy_runs, tmp_path):
    with pytest.raises(ExportError, match="means something with --precision int8 alone"):
        export_runs(toy_runs, tmp_path / "x.onnx", ExportOptions(int8_except=("toy_resnet",)))
    for names, said in (
        (("resnet18",), "the members are toy_resnet"),
        (("toy_resnet",), "leaves no member to be int8"),
    ):
        options = ExportOptions(precision="int8", int8_except=names, device="cpu")
        with pytest.raises(ExportError, match=said):
            export_runs(toy_runs[:1], tmp_path / "x.onnx", options)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(gpu_problem() is None, reason="this machine has an NVIDIA GPU")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_refused_before_any_work(tmp_path, device):
    with pytest.raises(DeviceError, match=f"--device {device}: .*use --device cpu"):
        export_runs([tmp_path / "no run"], tmp_path / "x.onnx", ExportOptions(device=device))


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_other_precisions_run_and_keep_calibration_exact(toy_runs, tmp_path, precision):
    path = tmp_path / "small.onnx"
    export_runs(toy_runs[:1], path, ExportOptions(checkpoints="best", precision=precision, device="cpu", force=True))
    description, data = read(path, verify=True)
    operators = {node.op_type for node in onnx.load_from_string(data).graph.node}
    assert ("QuantizeLinear" in operators) == (precision == "int8")
    assert description.document["accuracy"]["margin"] == release_checks.MARGINS[precision]
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).integers(0, 256, (2, 1, 90, 70), dtype=np.uint8)
    probability, members, _ = session.run(list(OUTPUTS), {INPUT: image})
    a, b, c = (np.array(description.document["calibration"]["parameters"][key]) for key in "abc")
    p = members.mean(axis=1, dtype=np.float64)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-(a * np.log(p) - b * np.log1p(-p) + c))), atol=1e-4)


def test_a_failed_gate_writes_nothing_unless_forced(toy_runs, tmp_path, monkeypatch):
    monkeypatch.setitem(release_checks.TOLERANCES, "float32", 1e-12)
    options = ExportOptions(checkpoints="best", device="cpu", calibration="none")
    with pytest.raises(ExportError, match=r"do: a probability differs by \S+ \(allowed 1e-12\)"):
        export_runs(toy_runs[:1], tmp_path / "no.onnx", options)
    assert list(tmp_path.iterdir()) == []
    forced = ExportOptions(checkpoints="best", device="cpu", calibration="none", force=True)
    document = export_runs(toy_runs[:1], tmp_path / "yes.onnx", forced)
    assert document["parity"]["passed"] is False
    card = (tmp_path / "yes.md").read_text()
    assert "forced" in card
    assert "Beyond its bound: a probability differs by" in card
    assert "PROBLEM: the export's parity check failed" in summary(describe(tmp_path / "yes.onnx"))
    assert verified(tmp_path / "yes.onnx", "cpu").endswith(
        "; but the export's parity check failed, and the file was written because it was forced"
    )


def test_too_large_is_refused_before_work_starts(toy_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(model_writer, "MAX_BYTES", 6_000_000)
    with pytest.raises(ExportError, match=r"at most 2 such members fit; export fewer .* float16-weights halves"):
        export_runs(toy_runs[:1], tmp_path / "large.onnx", ExportOptions(device="cpu"))


def test_existing_file_and_absent_folder(toy_runs, tmp_path):
    (tmp_path / "there.onnx").write_bytes(b"mine")
    with pytest.raises(ExportError, match="exists; --overwrite replaces it"):
        export_runs(toy_runs, tmp_path / "there.onnx", ExportOptions())
    with pytest.raises(ExportError, match="does not exist"):
        export_runs(toy_runs, tmp_path / "no" / "model.onnx", ExportOptions())
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"
    (tmp_path / "README.md").write_bytes(b"mine")  # would be the card
    with pytest.raises(ExportError, match=r"README.md: exists; --overwrite replaces it"):
        export_runs(toy_runs, tmp_path / "README.onnx", ExportOptions())
    with pytest.raises(ExportError, match=r"model.html: a model file's name ends in .onnx"):
        export_runs(toy_runs, tmp_path / "model.html", ExportOptions(overwrite=True))


def test_data_that_moved_are_named(toy_runs, tmp_path):
    options = ExportOptions(device="cpu", folder=tmp_path)
    with pytest.raises(ExportError, match=r"need the run's films: .*--data-folder and --cache"):
        export_runs(toy_runs[:1], tmp_path / "x.onnx", options)


def test_a_pickle_is_never_executed(toy_runs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(toy_runs[0], folder)
    index = json.loads((folder / "checkpoints" / "index.json").read_text())
    (folder / "checkpoints" / index[0]["file"]).write_bytes(b"\x80\x04c__builtin__\neval\n.")
    with pytest.raises(StudyError, match="damaged"):
        export_runs([folder], tmp_path / "x.onnx", ExportOptions(device="cpu"))


def test_a_wrong_description_is_not_written(exported):
    model = onnx.load(exported[0])
    document = {**describe(exported[0]).document, "observations": []}
    with pytest.raises(xraytransfer.XrayTransferError, match="observations"):
        model_writer.serialise(model, document)
    check_metadata(describe(exported[0]).document)


def test_command(toy_runs, tmp_path):
    options = ["-o", str(tmp_path / "m.onnx"), "--checkpoints", "best", "--calibration", "platt", "--device", "cpu"]
    done = CliRunner().invoke(export, [str(toy_runs[0]), *options, "--triton", str(tmp_path / "triton")])
    assert done.exit_code == 0, done.output
    assert "parity float32" in done.output
    assert (tmp_path / "triton" / "m" / "1" / "model.onnx").is_file()  # named as the file is, without --name


def test_command_refuses_in_one_line(toy_runs, tmp_path):
    (tmp_path / "m.onnx").write_bytes(b"mine")
    command = [sys.executable, "-m", "xraytransfer", "export", str(toy_runs[0]), "-o", str(tmp_path / "m.onnx")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert "exists; --overwrite replaces it" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(("option", "errors"), [("--quality-gate", ""), ("--judge", "--judge is deprecated")])
def test_the_quality_gates_former_option_is_understood(monkeypatch, tmp_path, option, errors):
    taken = []
    monkeypatch.setattr("xraytransfer.export.options.ExportOptions.check", lambda *_: None)
    monkeypatch.setattr("xraytransfer.export.exporter.export_runs", lambda *arguments: taken.append(arguments[2]))
    result = CliRunner().invoke(export, [str(tmp_path), "-o", str(tmp_path / "x.onnx"), option, str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(errors)
    assert bool(result.stderr) == bool(errors)
    assert [options.quality_gate for options in taken] == [tmp_path]
    assert "--judge" not in CliRunner().invoke(export, ["--help"]).output
