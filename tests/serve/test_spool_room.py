"""``/readyz`` says why the DICOM side takes no films."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("httpx")

import httpx

from xraytransfer.serve.dicom_settings import Destination, DicomSettings
from xraytransfer.serve.spool_room import spool_problem


@pytest.fixture
def settings(tmp_path: Path) -> DicomSettings:
    return DicomSettings(spool=tmp_path, destinations=(Destination.parse("PACS@127.0.0.1:104"),), min_free_bytes=0)


def test_room(settings: DicomSettings) -> None:
    assert spool_problem(settings, {"films_waiting": 3}) is None
    assert list(settings.spool.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "counts", "words"),
    [
        ({}, {}, "does not run"),
        ({"capacity": 3}, {"films_waiting": 3}, "holds 3 films"),
        ({"min_free_bytes": 2**62}, {"films_waiting": 0}, "MiB free, less than the 4398046511104 MiB"),
        ({"spool": Path("/proc/self")}, {"films_waiting": 0}, "cannot be written"),
        ({"spool": Path("/nowhere")}, {"films_waiting": 0}, "cannot be written: No such file"),
    ],
)
def test_no_room(settings: DicomSettings, changes: dict, counts: dict, words: str) -> None:
    assert words in (spool_problem(dataclasses.replace(settings, **changes), counts) or "")


def test_readyz(serve_http, settings: DicomSettings) -> None:
    server = serve_http()
    server.http.readiness.checks.append(lambda: spool_problem(settings, {"films_waiting": 0}))
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    shutil.rmtree(settings.spool)
    answer = httpx.get(f"{server.url}/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "not-ready")
    assert "the spool cannot be written" in answer.json()["detail"]
    assert httpx.get(f"{server.url}/healthz").status_code == 200
