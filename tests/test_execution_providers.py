"""What is handed to ONNX Runtime for CUDA and TensorRT, without a GPU."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xraytransfer
from xraytransfer import model_file, runtime
from xraytransfer.constants import OLDEST_ONNX_RUNTIME
from xraytransfer.errors import DeviceError, ModelFileError
from xraytransfer.execution_providers import LARGEST_BATCH, gpu_batches, gpu_providers

SIZES = [(128, 128), (300, 200), (700, 600)]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Keep engines in a folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    return tmp_path / "cache" / "xraytransfer" / "tensorrt"


def options(model=b"model", sizes=SIZES):
    (name, found), (second, _) = gpu_providers("tensorrt", model, sizes)
    assert (name, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    return found


def test_cuda_computes_in_float32(cache):
    assert gpu_providers("auto", b"model", SIZES) == gpu_providers("cuda", b"model")
    ((name, found),) = gpu_providers("cuda", b"model")
    assert (name, found["use_tf32"]) == ("CUDAExecutionProvider", "0")
    assert not cache.exists()


def test_tensorrt_keeps_its_engine_and_its_timings(cache):
    found = options()
    assert found["trt_engine_cache_enable"] == found["trt_timing_cache_enable"] == "True"
    assert Path(found["trt_engine_cache_path"]).parent == Path(found["trt_timing_cache_path"]) == cache
    assert Path(found["trt_engine_cache_path"]).is_dir()
    assert options()["trt_engine_cache_path"] == found["trt_engine_cache_path"]


def test_another_model_or_profile_never_finds_the_engine():
    """ONNX Runtime's own name of an engine leaves out the weights."""
    folders = {options(model, sizes)["trt_engine_cache_path"] for model in (b"a", b"b") for sizes in (SIZES, SIZES[:1])}
    assert len(folders) == 4


def test_without_a_folder_for_it_the_engine_is_not_kept(cache, caplog):
    cache.parent.mkdir(parents=True)
    cache.write_text("a file")
    assert not [key for key in options() if "cache" in key]
    assert "TensorRT's engine is not kept" in caplog.text


def shapes(found):
    names = [f"trt_profile_{name}_shapes" for name in ("min", "opt", "max")]
    texts = [re.fullmatch(r"image:(\d+)x1x(\d+)x(\d+)", found[name]) for name in names]
    return [tuple(map(int, text.groups())) for text in texts]


def test_the_profile_admits_every_film_and_batch():
    assert shapes(options()) == [(1, 128, 128), (16, 128, 128), (LARGEST_BATCH, 700, 600)]
    assert shapes(options(sizes=[(320, 320), (300, 200)])) == [(1, 300, 200), (16, 320, 320), (LARGEST_BATCH, 320, 320)]
    assert not [key for key in options(sizes=[]) if "profile" in key]


@given(st.integers(1, 300))
@settings(deadline=None)
def test_batches_have_few_sizes_and_lose_no_film(count):
    films = np.arange(count, dtype=np.float32)[:, None, None, None]
    parts = list(gpu_batches(films))
    assert {len(part) for part, _ in parts} <= {1, 2, 4, 8, 16, 32, 64}
    np.testing.assert_array_equal(np.concatenate([part[:kept] for part, kept in parts]), films)


class OnGPU:
    """ONNX Runtime on the CPU under another provider's name, which notes the shapes that it is given."""

    def __init__(self, session, name):
        self.session, self.name, self.shapes = session, name, []

    def __getattr__(self, attribute):
        return getattr(self.session, attribute)

    def get_providers(self):
        return [self.name, "CPUExecutionProvider"]

    def run(self, names, inputs):
        self.shapes += [value.shape for value in inputs.values()]
        return self.session.run(names, inputs)


@pytest.fixture
def on_tensorrt(monkeypatch):
    """Let TensorRT's sessions compute on the CPU; return what they were opened with."""
    new, opened = runtime._new, []

    def opening(model, providers, threads):
        if providers == ["CPUExecutionProvider"]:
            return new(model, providers, threads)
        session = OnGPU(new(model, ["CPUExecutionProvider"], threads), providers[0][0])
        opened.append((providers, session))
        return session

    monkeypatch.setattr(runtime, "gpu_problem", lambda: None)
    monkeypatch.setattr(runtime.ort, "preload_dlls", lambda: None, raising=False)
    monkeypatch.setattr(runtime.ort, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    monkeypatch.setattr(runtime, "_new", opening)
    return opened


def inside(shape, profile):
    smallest, _, largest = profile
    sides = (shape[0], *shape[2:])
    return all(low <= side <= high for low, side, high in zip(smallest, sides, largest, strict=True))


def test_whatever_a_classifier_scores_lies_inside_the_profile(toy_model, on_tensorrt, sample_film):
    classifier = xraytransfer.load(toy_model, device="tensorrt")
    film = classifier.read(sample_film("RG1_UNCR"))
    found = [*classifier.predict_many([film] * 21), classifier.predict(film)]
    found += classifier.predict_radiographs([film] * 70)
    ((providers, session),) = on_tensorrt
    profile = shapes(providers[0][1])
    assert all(inside(shape, profile) for shape in session.shapes)
    assert {shape[0] for shape in session.shapes} == {1, 8, 16, 64}
    expected = xraytransfer.load(toy_model, device="cpu").predict(film)
    assert len(found) == 92
    for prediction in found:
        assert prediction.provider == "TensorrtExecutionProvider"
        np.testing.assert_allclose(prediction.probability, expected.probability, atol=1e-6)
        np.testing.assert_allclose(prediction.activation_map, expected.activation_map, atol=1e-4)


def test_a_graph_that_tensorrt_takes_in_parts_is_opened_without_a_profile(toy_model, on_tensorrt, monkeypatch, caplog):
    opening, tried = runtime._new, []

    def refusing(model, providers, threads):
        tried.append(providers)
        if "trt_profile_min_shapes" in providers[0][1]:
            raise RuntimeError("User needs to provide all the dynamic shape inputs with associated profiles")
        return opening(model, providers, threads)

    monkeypatch.setattr(runtime, "_new", refusing)
    description = model_file.describe(toy_model)
    _, provider = runtime.open_session(toy_model, "tensorrt", sizes=runtime.film_sizes(description))
    assert provider == "TensorrtExecutionProvider"
    first, second = (providers[0][1] for providers in tried)
    assert {key: value for key, value in first.items() if "profile" not in key} == second
    assert "only in parts" in caplog.text


def test_a_model_that_cannot_be_read_is_said(on_tensorrt, tmp_path):
    with pytest.raises(ModelFileError, match=r"gone\.onnx: the model cannot be read: No such file"):
        runtime.open_session(tmp_path / "gone.onnx", "tensorrt")


def test_a_provider_that_computes_something_else_is_stopped(shipped_copy, on_tensorrt, monkeypatch):
    """The engine of another model, or a coarse precision, would answer otherwise."""
    monkeypatch.setattr(
        OnGPU, "run", lambda self, names, inputs: [value + 0.02 for value in self.session.run(names, inputs)]
    )
    with pytest.raises(DeviceError, match=r"on TensorrtExecutionProvider: the self-test fails: .* differs by 0.020"):
        xraytransfer.load(shipped_copy, device="tensorrt")


@pytest.fixture
def shipped_copy(tmp_path):
    """Return the small shipped model with a self-test."""
    pytest.importorskip("onnx")
    from xraytransfer.export.file_copies import renewed_copy

    return renewed_copy("default-small", tmp_path / "small.onnx")


def test_too_old_a_runtime_is_refused(toy_model, monkeypatch):
    monkeypatch.setattr(runtime.ort, "__version__", "1.19.2")
    with pytest.raises(DeviceError, match=r"ONNX Runtime 1\.19\.2 .* needs 1\.20 or newer: run `pip install --upgrade"):
        xraytransfer.load(toy_model, device="cpu")


def test_the_oldest_runtime_is_the_one_that_pip_asks_for():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    found = [line for line in project["dependencies"] if line.startswith("onnxruntime")]
    assert len(found) == 2
    oldest = ".".join(map(str, OLDEST_ONNX_RUNTIME))
    assert all(re.match(rf"onnxruntime(-gpu)?>={oldest};", line) for line in found)
