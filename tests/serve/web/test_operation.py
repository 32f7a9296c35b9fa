"""What operators see: readiness, metrics, logs, the OpenAPI document, the command, and the end of a server."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

pytest.importorskip("starlette")
pytest.importorskip("httpx")

import httpx

from xraytransfer import read_radiograph
from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.errors import ServeError
from xraytransfer.serve.cli import serve
from xraytransfer.serve.settings import read_token
from xraytransfer.serve.web.openapi import openapi_document
from xraytransfer.serve.web.problems import PROBLEMS
from xraytransfer.serve.web.readiness import phantom

DICOM = {"Content-Type": "application/dicom"}
PATIENCE = 30


def named_film() -> bytes:
    film = pydicom.dcmread(BytesIO(phantom()))
    film.PatientName, film.PatientID = "Doe^Jane", "PID-4711"
    file = BytesIO()
    film.save_as(file)
    return file.getvalue()


def test_the_phantom_is_read_like_a_film():
    film = read_radiograph(phantom())
    assert (film.format, film.view_position, film.bits_stored) == ("dicom", "PA", 12)
    assert film.pixels[256, 256] > film.pixels[200, 150] + 50, "the spine is brighter than a lung"
    assert phantom() == phantom()


def test_ready_by_a_scored_film(serve_http):
    server = serve_http()
    response = httpx.get(f"{server.url}/readyz", timeout=PATIENCE)
    assert response.status_code == 200
    state = response.json()
    assert (state["ready"], state["provider"]) == (True, "CPUExecutionProvider")
    assert state["film"] == "drawn phantom"
    assert server.engine.last_scored > 0
    assert server.metrics.registry.get_sample_value("xraytransfer_batch_films_count") == 1
    httpx.get(f"{server.url}/readyz", timeout=PATIENCE)
    assert server.metrics.registry.get_sample_value("xraytransfer_batch_films_count") == 1, "fresh for ten seconds"


def test_ready_by_the_sites_own_film(serve_http, sample_film):
    server = serve_http(ready_film=sample_film("RG1_UNCR"))
    assert httpx.get(f"{server.url}/readyz", timeout=PATIENCE).json()["film"] == "the site's own"


def test_not_ready_when_the_film_is_not_scored(serve_http, tmp_path):
    film = tmp_path / "film"
    film.write_bytes(b"no film")
    response = httpx.get(f"{serve_http(ready_film=film).url}/readyz", timeout=PATIENCE)
    assert (response.status_code, response.json()["reason"]) == (503, "not-ready")
    assert "neither DICOM" in response.json()["detail"]


def test_model(serve_http):
    answer = httpx.get(f"{serve_http(max_files=7).url}/v1/model").json()
    assert answer["model"]["name"] == "toy"
    assert answer["provider"] == "CPUExecutionProvider"
    assert answer["limits"]["files"] == 7
    assert answer["notice"] == RESEARCH_NOTICE


def test_metrics(serve_http):
    server = serve_http()
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        client.post("/v1/predict", content=named_film(), headers=DICOM)
        client.post("/v1/predict?patient=Doe", content=b"Doe^Jane", headers=DICOM)
        client.post("/v1/predict", content=b"Doe^Jane", headers=DICOM)
        client.get("/Doe/Jane")
        client.put("/")
        text = client.get("/metrics").text
    for line in (
        'xraytransfer_http_requests_total{method="POST",route="/v1/predict",status="200"} 1.0',
        'xraytransfer_http_requests_total{method="GET",route="other",status="404"} 1.0',
        'xraytransfer_http_requests_total{method="other",route="/",status="405"} 1.0',
        'xraytransfer_refusals_total{reason="unsupported-format"} 1.0',
        'xraytransfer_refusals_total{reason="bad-request"} 1.0',
        'xraytransfer_films_total{outcome="scored"} 1.0',
        "xraytransfer_queue_films 0.0",
        "xraytransfer_queue_places 64.0",
        "xraytransfer_held_bytes 0.0",
        "xraytransfer_batch_films_count 1.0",
    ):
        assert line in text, line
    assert 'provider="CPUExecutionProvider"' in text
    assert "Doe" not in text


def test_no_patient_in_the_log(serve_http, caplog):
    caplog.set_level(logging.DEBUG)
    server = serve_http()
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        client.post("/v1/predict", content=named_film(), headers=DICOM)
        client.post("/v1/predict", content=named_film()[:-9], headers=DICOM)
        client.post("/v1/predict", files={"Doe": ("Doe^Jane.dcm", named_film())})
        client.get("/v1/model?name=Doe")
    ours = [
        record.getMessage()
        for record in caplog.records
        if record.name.split(".")[0] in ("xraytransfer", "uvicorn", "pydicom")
    ]
    assert any("/v1/predict 200" in line for line in ours)
    assert not [line for line in ours if "Doe" in line or "4711" in line]


def test_films_never_touch_the_disk(serve_http):
    server = serve_http()
    films = [("f", (f"{i}.dcm", phantom())) for i in range(8)]
    # first without watching: what is imported on first use is not of interest
    httpx.post(f"{server.url}/v1/predict", files=films, timeout=PATIENCE)
    with watched_writes() as written:
        httpx.post(f"{server.url}/v1/predict", files=films, timeout=PATIENCE)
        query = "map=all&picture=512"
        httpx.post(f"{server.url}/v1/predict?{query}", content=phantom(), headers=DICOM, timeout=PATIENCE)
    assert written == []


@contextlib.contextmanager
def watched_writes() -> Iterator[list[str]]:
    """Collect the files that this process opens for writing."""
    written: list[str] = []
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):  # type: ignore[operator]
            written.append(str(arguments[0]))

    sys.addaudithook(watch)  # cannot be taken away again, only told to look away
    try:
        yield written
    finally:
        watching = False


def test_an_error_of_ours_is_a_problem_and_its_message_stays_here(serve_http, monkeypatch, caplog):
    server = serve_http()

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("PatientName Doe^Jane")

    monkeypatch.setattr("xraytransfer.serve.engine.read_radiograph", fail)
    response = httpx.post(f"{server.url}/v1/predict", content=phantom(), headers=DICOM)
    assert (response.status_code, response.json()["reason"]) == (500, "internal")
    assert "Doe" not in response.text + caplog.text
    assert "ZeroDivisionError at" in caplog.text
    assert httpx.post(f"{server.url}/v1/predict", files={"f": phantom()}).json()["results"][0]["status"] == 500


def test_openapi_lists_what_is_served(serve_http):
    server = serve_http()
    document = httpx.get(f"{server.url}/openapi.json").json()
    assert document == json.loads(json.dumps(openapi_document()))
    asked = {route.path for route in server.http.config.app.routes if route.path.startswith("/v1/")}
    assert asked < set(document["paths"])
    for path, methods in document["paths"].items():
        for method in methods:
            assert httpx.request(method, server.url + path).status_code not in (404, 405)
    validator = pytest.importorskip("openapi_spec_validator")
    validator.validate(document)


def test_openapi_names_each_query_that_an_answer_depends_on():
    paths = openapi_document()["paths"]
    named = {
        path: {query["name"]: query["schema"] for query in paths[path]["post"]["parameters"]}
        for path in ("/v1/predict", "/v1/sr")
    }
    assert set(named["/v1/predict"]) == {"map", "picture", "any_modality", "any_film", "decode"}
    assert set(named["/v1/sr"]) == {"any_modality", "any_film", "decode"}
    assert all(query["decode"] == {"enum": ["full", "reduced"]} for query in named.values())


def test_the_reference_page_knows_every_problem(serve_http):
    page = httpx.get(f"{serve_http().url}/reference").text
    for reason in PROBLEMS:
        assert f'id="{reason}"' in page
    assert "/v1/predict" in page
    assert "style=" not in page
    assert "<script" not in page


def start_command(toy_model, *options: str) -> tuple[subprocess.Popen, str]:
    command = [
        sys.executable,
        "-m",
        "xraytransfer",
        "serve",
        "--model",
        str(toy_model),
        "--device",
        "cpu",
        "--port",
        "0",
    ]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, env={**os.environ})
    for line in process.stderr:
        found = re.search(r"listening on (\S+)", line)
        if found:
            return process, found[1]
    raise AssertionError(f"the server ended with {process.wait()}")


def test_after_sigterm_accepted_films_are_answered(toy_model):
    process, url = start_command(toy_model)
    film = named_film()
    head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
    head += f"Content-Length: {len(film)}\r\nExpect: 100-continue\r\n\r\n"
    port = int(url.rpartition(":")[2])
    with process, socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        process.send_signal(signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while accepts(port):
            assert time.monotonic() < until
        client.sendall(film)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
        assert answer.startswith(b"HTTP/1.1 200")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["ok"]
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read().endswith("INFO ended\n")


def test_sigterm_ends_the_dicom_side_in_order(toy_model, tmp_path):
    """uvicorn raises SIGTERM again when it has drained: by default that would kill the process there."""
    spool = tmp_path / "spool"
    options = ["--dicom-spool", str(spool), "--dicom-port", "0", "--send-to", "PACS@127.0.0.1:1"]
    process, _ = start_command(toy_model, *options)
    with process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read().endswith("INFO ended\n")
    assert not (spool / "spool.sqlite3-wal").exists(), "the database was closed"


def test_ipv6(toy_model):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    process, url = start_command(toy_model, "--host", "::1")
    with process:
        assert url.startswith("http://[::1]:")
        answer = httpx.post(f"{url}/v1/predict", content=named_film(), headers=DICOM, timeout=PATIENCE)
        assert answer.status_code == 200
        assert httpx.get(f"{url}/v1/model", headers={"Host": "films.example.org"}).status_code == 421
        process.terminate()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def test_the_command_says_what_stands_in_the_way(tmp_path, toy_model):
    result = CliRunner().invoke(serve, ["--host", "0.0.0.0", "--model", str(toy_model)])
    assert result.exit_code == 2
    assert "--token-file" in result.output


def test_a_model_whose_self_test_fails_is_not_served(toy_model_writer, tmp_path):
    test = {"rows": 70, "columns": 60, "detail": 2, "probability": [0.5] * 6, "tolerance": 0.003}
    toy_model_writer(tmp_path / "toy.onnx", self_test=test)
    result = CliRunner().invoke(serve, ["--model", str(tmp_path / "toy.onnx"), "--device", "cpu", "--port", "0"])
    assert "the self-test fails" in str(result.exception)


def test_a_taken_port_is_an_error(serve_http, toy_model):
    server = serve_http()
    command = ["serve", "--model", str(toy_model), "--device", "cpu", "--port", str(server.port)]
    done = subprocess.run(
        [sys.executable, "-m", "xraytransfer", *command], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 3
    assert f"cannot listen on 127.0.0.1:{server.port}: Address already in use; give" in done.stderr
    assert "ended" not in done.stderr  # what never served


def test_tokens_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "token"
    file.write_text("a-token-in-a-file\n")
    monkeypatch.setenv("XRAYTRANSFER_TOKEN", "a-token-in-the-environment\n")
    assert read_token(file) == "a-token-in-a-file"
    assert read_token(None) == "a-token-in-the-environment"
    monkeypatch.delenv("XRAYTRANSFER_TOKEN")
    assert read_token(None) is None
    file.write_text("\n")
    with pytest.raises(ServeError, match="no token in it"):
        read_token(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ServeError, match="ASCII"):
        read_token(file)


def test_activation_map_values_are_finite(serve_http):
    answer = httpx.post(f"{serve_http().url}/v1/predict?map=values", content=phantom(), headers=DICOM).json()
    assert np.isfinite(answer["activation_map"]["edema"]).all()
