"""Execution providers: what runs is what is said, what cannot run says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xraytransfer import runtime
from xraytransfer.errors import DeviceError, ModelFileError


def test_cpu_session_says_what_runs(toy_model):
    session, provider = runtime.open_session(toy_model, "cpu", 1)
    assert provider == session.get_providers()[0] == "CPUExecutionProvider"
    assert session.get_session_options().intra_op_num_threads == 1


def test_auto_says_what_the_session_says(toy_model):
    session, provider = runtime.open_session(toy_model.read_bytes(), "auto")
    assert session.get_providers()[0] == provider


@pytest.mark.skipif(runtime.gpu_problem() is None, reason="this machine has an NVIDIA GPU")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_gpu_without_gpu_fails_with_cause_and_cure(toy_model, device):
    with pytest.raises(DeviceError, match=f"--device {device}: .*pip install 'xraytransfer\\[gpu\\]'"):
        runtime.open_session(toy_model, device)


def test_a_device_that_fails_is_said_and_auto_takes_the_cpu(toy_model, monkeypatch, capfd):
    """A provider that is compiled in and fails: ONNX Runtime's own fallback would print among the results."""
    new = runtime._new

    def failing(model, providers, threads):
        if providers != ["CPUExecutionProvider"]:
            raise RuntimeError("CUDA failure 2: out of memory\nmore")
        return new(model, providers, threads)

    monkeypatch.setattr(runtime, "gpu_problem", lambda: None)
    monkeypatch.setattr(runtime.ort, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(runtime.ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(runtime, "_new", failing)
    assert runtime.open_session(toy_model, "auto", 1)[1] == "CPUExecutionProvider"
    with pytest.raises(DeviceError, match=r"--device cuda: .*out of memory; install"):
        runtime.open_session(toy_model, "cuda", 1)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_build_without_the_provider_is_known_before_there_is_a_model(monkeypatch, device):
    monkeypatch.setattr(runtime, "gpu_problem", lambda: None)
    monkeypatch.setattr(runtime.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match=f"--device {device}: this build of ONNX Runtime has no .*; install"):
        runtime.check_device(device)
    assert "has no CUDAExecutionProvider" in runtime.check_device("auto")
    assert runtime.check_device("cpu") is None


def test_unknown_device(toy_model):
    with pytest.raises(DeviceError, match="unknown device 'tpu'"):
        runtime.open_session(toy_model, "tpu")


def test_foreign_graphs_are_refused(toy_model_writer, tmp_path):
    path = tmp_path / "partial.onnx"
    toy_model_writer(path, outputs=("probability", "member_probability"))
    with pytest.raises(ModelFileError, match="lacks the float32 output activation_map"):
        runtime.open_session(path, "cpu")
    with pytest.raises(ModelFileError, match="cannot load the graph"):
        runtime.open_session(b"\x08\x0a\x12\x03abc", "cpu")


INT8_GRAPH = """
    <ir_version: 8, opset_import: ["": 17]>
    int8 (uint8[1, 1, 8, 8] image) => (float[1, 4, 6, 6] probability, float[1, 4, 6, 6] member_probability,
                                       float[1, 4, 6, 6] activation_map)
    <float scale = {1.0}, uint8 zero = {0}, int8 none = {0}, int8 own = {0}, float coarse = {2000.0},
     float large = {3000.0}, int8[4, 1, 3, 3] weight = {WEIGHT}, int8[4, 1, 3, 3] other = {WEIGHT}>
    {
        grey = DequantizeLinear(image, scale, zero)
        kernel = DequantizeLinear(weight, scale, none)
        exact = Conv(grey, kernel)
        rounded = QuantizeLinear(exact, coarse, zero)
        probability = DequantizeLinear(rounded, coarse, zero)
        second_kernel = DequantizeLinear(SECOND)
        second_exact = Conv(grey, second_kernel)
        second_rounded = QuantizeLinear(second_exact, large, zero)
        member_probability = DequantizeLinear(second_rounded, large, zero)
        activation_map = Identity(probability)
    }
""".replace("WEIGHT", ", ".join(["127"] * 36))


@pytest.mark.parametrize("second", ["other, scale, own", "weight, scale, own", "other, scale, none"])
def test_int8_products_do_not_overflow(second):
    """On x86 processors without VNNI, ONNX Runtime adds two products in 16 bits: 2 * 255 * 127 does not fit.

    With its own cure it cannot open a graph whose nodes share weights or zero points.
    """
    onnx = pytest.importorskip("onnx")
    made = onnx.parser.parse_model(INT8_GRAPH.replace("SECOND", second))
    session, _ = runtime.open_session(made.SerializeToString(), "cpu", threads=1)
    found = session.run(["probability", "member_probability"], {"image": np.full((1, 1, 8, 8), 255, np.uint8)})
    for values, step in zip(found, (2000, 3000), strict=True):
        np.testing.assert_array_equal(values, round(9 * 255 * 127 / step) * step)


def test_onnx_runtime_tells_nobody_and_leaves_no_identifier(toy_model, tmp_path):
    """Its packages send events to Microsoft by default, under an identifier that they keep in the user's cache."""
    script = f"""
from xraytransfer import load
load({str(toy_model)!r}, device="cpu", threads=1)
"""
    environment = {name: value for name, value in os.environ.items() if name not in {"CI", "ORT_DISABLE_TELEMETRY"}}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=Path(__file__).parent, timeout=120)
    assert not [path for path in tmp_path.rglob("*") if "microsoft" in str(path).lower()]


def test_a_users_own_choice_about_telemetry_is_kept():
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    code = "import os, xraytransfer; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "0"
