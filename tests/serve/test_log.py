"""``--verbose`` shows every request, film and result; without it only the process and what went wrong are logged."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("httpx")

import httpx
from pydicom import dcmread
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import Comprehensive3DSRStorage

from server_log import wait_for

PATIENCE_S = 60
PER_FILM = ("POST /v1/predict 200", "film received", "a film was scored; 1 result to send", "took a result")
PROCESS = ("listens on", "listening on", "ended")


@pytest.mark.parametrize("verbose", [True, False])
def test_films_and_results_are_logged_on_demand(toy_model: Path, tmp_path: Path, dicom_film, verbose: bool) -> None:
    film = dicom_film(
        np.tile(np.arange(80, dtype=np.uint16) * 50, (96, 1)), StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.2"
    )
    arrived = threading.Event()

    def take(_: evt.Event) -> int:
        arrived.set()
        return 0

    archive = AE("PACS")
    archive.add_supported_context(Comprehensive3DSRStorage)
    pacs = archive.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    options = ["--dicom-spool", str(tmp_path / "spool"), "--dicom-port", "0", "--no-sc"]
    options += ["--send-to", f"PACS@127.0.0.1:{pacs.server_address[1]}", *(["--verbose"] if verbose else [])]
    command = [sys.executable, "-m", "xraytransfer", "serve", "--model", str(toy_model), "--device", "cpu", *options]
    log = tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen([*command, "--port", "0"], stderr=file, env={**os.environ}) as server:
        dicom_port, url = wait_for(log, r"port (\d+);"), wait_for(log, r"listening on (\S+)")
        answer = httpx.post(f"{url}/v1/predict", content=film, headers={"Content-Type": "application/dicom"})
        assert answer.status_code == 200
        modality = AE("CR1")
        modality.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
        association = modality.associate("127.0.0.1", int(dicom_port), ae_title="XRAYTRANSFER")
        assert association.send_c_store(dcmread(io.BytesIO(film))).Status == 0
        association.release()
        assert arrived.wait(PATIENCE_S)
        server.terminate()
        assert server.wait(PATIENCE_S) == 0
    pacs.shutdown()
    text = log.read_text()
    for line in PROCESS:
        assert line in text
    for line in PER_FILM:
        assert (line in text) is verbose, line
