"""What docs/embed-servers.md shows is run: its commands, its client of Triton, its service."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import xraytransfer

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "embed-servers.md").read_text("utf-8")
PATIENCE = 120


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(sample_film, tmp_path_factory):
    """Return a folder in which the page's commands ran, with a film."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("servers")
    (folder / "film.dcm").write_bytes(Path(sample_film("RG1_UNCR")).read_bytes())
    commands = [line for text in blocks("") for line in text.splitlines() if line.startswith("xraytransfer ")]
    assert len(commands) == 2
    for command in commands:
        words = [sys.executable, "-m", *shlex.split(command)]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def port(folder):
    """Serve the repository over Triton's protocol with ONNX Runtime; return the port."""
    grpc = pytest.importorskip("grpc")
    service_pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
    service_pb2_grpc = pytest.importorskip("tritonclient.grpc.service_pb2_grpc")

    class Server(service_pb2_grpc.GRPCInferenceServiceServicer):
        def ModelInfer(self, request, context):
            graph = folder / "repository" / request.model_name / "1" / "model.onnx"
            session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
            (entry,) = request.inputs
            film = np.frombuffer(request.raw_input_contents[0], {"UINT8": np.uint8}[entry.datatype])
            (found,) = session.run(["probability"], {entry.name: film.reshape(entry.shape)})
            answer = service_pb2.ModelInferResponse(
                model_name=request.model_name, raw_output_contents=[found.tobytes()]
            )
            answer.outputs.add(name="probability", datatype="FP32", shape=found.shape)
            return answer

    server = grpc.server(ThreadPoolExecutor(1))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Server(), server)
    number = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield number
    server.stop(None).wait()


def test_the_client_gets_what_predict_answers(folder, port, monkeypatch):
    monkeypatch.chdir(folder)
    (code,) = (text for text in blocks("python") if "tritonclient" in text)
    names: dict = {}
    exec(code.replace("localhost:8001", f"127.0.0.1:{port}"), names)
    expected = xraytransfer.load("default-small", device="cpu").predict("film.dcm").probability
    np.testing.assert_allclose(names["probability"], expected, atol=1e-5)


def test_manifests_are_inference_services():
    yaml = pytest.importorskip("yaml")
    manifests = [yaml.safe_load(text) for text in blocks("yaml")]
    assert [manifest["kind"] for manifest in manifests] == ["InferenceService"] * 2
    assert {next(iter(manifest["spec"]["predictor"])) for manifest in manifests} == {"model", "containers"}


def test_the_service_scores_and_refuses(folder, monkeypatch, tmp_path):
    pytest.importorskip("bentoml")
    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    (code,) = (text for text in blocks("python") if "bentoml" in text)
    names: dict = {"__name__": "service"}
    exec(code, names)
    service = names["ChestRadiographs"]()
    (tmp_path / "text.txt").write_text("no film")
    expected = xraytransfer.load("default-small", device="cpu").predict(folder / "film.dcm").probability
    answer = service.predict(folder / "film.dcm")
    found = [row["probability"] for row in answer["observations"]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert service.predict(tmp_path / "text.txt")["reason"] == "unsupported-format"
