"""Nothing that stands in a film's header reaches a log or the terminal, whichever way the film comes."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

pytest.importorskip("pynetdicom")
pytest.importorskip("httpx")

import httpx
from pynetdicom import AE, evt
from pynetdicom.sop_class import Comprehensive3DSRStorage

from marked_films import FILMS, MARK, MARK_UID, film
from server_log import wait_for
from xraytransfer.film_privacy import printable_line
from xraytransfer.serve.log import LogLine

PATIENCE_S = 60


@pytest.fixture(scope="module")
def films() -> dict[str, bytes]:
    return {name: film(**options) for name, options in FILMS.items()}


class RefusingService(BaseHTTPRequestHandler):
    """A DICOMweb service that refuses each result and repeats it in its refusal."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(409, "Conflict " + MARK)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextlib.contextmanager
def destinations():
    """Run a PACS that takes one result in two and refuses the others in words, and a service that refuses all."""
    number = 0

    def take(_: evt.Event) -> Dataset | int:
        nonlocal number
        number += 1
        if number % 2:
            return 0
        status = Dataset()
        status.Status, status.ErrorComment = 0xA900, MARK
        return status

    archive = AE("PACS")
    archive.add_supported_context(Comprehensive3DSRStorage)
    pacs = archive.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    web = ThreadingHTTPServer(("127.0.0.1", 0), RefusingService)
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    try:
        yield [
            "--send-to",
            f"PACS@127.0.0.1:{pacs.server_address[1]}",
            "--send-to",
            f"http://127.0.0.1:{web.server_port}/d",
        ]
    finally:
        web.shutdown()
        web.server_close()
        thread.join()
        pacs.shutdown()


@pytest.mark.parametrize("verbose", [True, False])
@pytest.mark.filterwarnings("ignore::UserWarning")  # this test's own writing of the films
def test_no_film_in_the_servers_log(toy_model: Path, tmp_path: Path, films: dict[str, bytes], verbose: bool) -> None:
    log = tmp_path / "log"
    with destinations() as to, log.open("wb") as file:
        options = ["--dicom-spool", str(tmp_path / "spool"), "--dicom-port", "0", *to]
        command = [
            sys.executable,
            "-m",
            "xraytransfer",
            "serve",
            "--model",
            str(toy_model),
            "--device",
            "cpu",
            *options,
        ]
        command += ["--port", "0", *(["--verbose"] if verbose else [])]
        with subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ}) as server:
            try:
                dicom_port, url = wait_for(log, r"port (\d+);"), wait_for(log, r"listening on (\S+)")
                for probed in ("does not take C-ECHO", "QIDO-RS"):  # what is said of destinations comes on its own time
                    wait_for(log, f"({probed})")
                before = len(log.read_text().splitlines())
                post_everywhere(url, films)
                after_http = log.read_text().splitlines()[before:]
                for content in films.values():
                    store(int(dicom_port), content)
                time.sleep(3)  # results are made, sent and refused
            finally:
                server.terminate()
            assert server.wait(PATIENCE_S) == 0
    text = log.read_text()
    assert MARK not in text, lines_with(text, MARK)
    assert MARK_UID not in text, lines_with(text, MARK_UID)
    assert "forged" not in text
    assert all(line.startswith("20") for line in text.splitlines()), text
    if not verbose:
        assert after_http == []


def lines_with(text: str, word: str) -> list[str]:
    return [line for line in text.splitlines() if word in line]


def post_everywhere(url: str, films: dict[str, bytes]) -> None:
    """Send every film over every route of HTTP, and their names in paths, queries and headers."""
    kind = {"Content-Type": "application/dicom"}
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        for content in films.values():
            for route in ("/v1/predict", "/v1/sr", "/v1/predict?map=all&picture=256", "/v1/sr?any_modality=true"):
                assert client.post(route, content=content, headers=kind).status_code in (200, 422)
            client.post("/v1/sr", content=content[:-100], headers=kind)
            client.post("/v1/predict", files={MARK: (f"{MARK}.dcm", content)})
        for route in (f"/{MARK}", f"/v1/model?name={MARK}", f"/v1/predict?{MARK}=1", "/metrics", "/readyz"):
            client.get(route, headers={"X-Name": MARK, "Host": f"{MARK}.example"})


def store(port: int, content: bytes) -> None:
    """Send a film by C-STORE as it is."""
    caller = AE("CR1")
    caller.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    association = caller.associate("127.0.0.1", port, ae_title="XRAYTRANSFER")
    assert association.is_established
    dataset = pydicom.dcmread(io.BytesIO(content))
    # the command must carry a UID that pynetdicom sends; the object keeps its own
    with contextlib.suppress(ValueError):
        association.send_c_store(dataset)
    association.abort()


@pytest.mark.parametrize("name", FILMS)
def test_no_film_in_the_terminal(toy_model: Path, tmp_path: Path, films: dict[str, bytes], name: str) -> None:
    path = tmp_path / "film.dcm"
    path.write_bytes(films[name])
    command = [sys.executable, "-m", "xraytransfer", "predict", str(path), "--model", str(toy_model), "--device", "cpu"]
    done = subprocess.run(
        [*command, "--sr", str(tmp_path / "sr"), "--sc", str(tmp_path / "sc")],
        capture_output=True,
        text=True,
        check=False,
    )
    shown = done.stdout + done.stderr
    assert MARK_UID not in shown
    assert "forged" not in shown
    assert "Warning" not in shown
    assert len(done.stderr.splitlines()) <= 2, done.stderr
    assert MARK not in shown or name == "refused", shown


def test_a_record_is_one_line_without_what_others_wrote() -> None:
    try:
        raise ValueError(MARK)
    except ValueError:
        ours = logging.LogRecord("xraytransfer.serve", logging.ERROR, __file__, 1, "a\nb\x1b[2J", None, sys.exc_info())
        others = logging.LogRecord("asyncio", logging.ERROR, __file__, 1, MARK, None, sys.exc_info())
    for record in (ours, others):
        line = LogLine().format(record)
        assert line.isprintable()
        assert MARK not in line
        assert "ValueError at" in line


def test_printable_line() -> None:
    assert printable_line("Grün\r\n\x1b\u2028\udc80") == "Grün\\r\\n\\x1b\\u2028\\udc80"
