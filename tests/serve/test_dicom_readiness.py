"""``/readyz`` says why the DICOM side takes no films."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("httpx")

import httpx

# pynetdicom leaves the socket of a connection that failed to the garbage collector.
pytestmark = [
    pytest.mark.usefixtures("sockets_collected"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <s(ocket|sl):pytest.PytestUnraisableExceptionWarning"),
]


def test_readyz(serve_http: Any, dicom_side: Any, tmp_path: Path) -> None:
    server, service = serve_http(), dicom_side("AWAY@127.0.0.1:1")
    server.http.readiness.checks.append(lambda: service.state().problem)
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    shutil.rmtree(tmp_path / "spool")
    answer = httpx.get(f"{server.url}/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "not-ready")
    assert "the spool cannot be written: No such file or directory" in answer.json()["detail"]
    assert httpx.get(f"{server.url}/healthz").status_code == 200
