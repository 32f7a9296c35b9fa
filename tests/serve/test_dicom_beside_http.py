"""HTTP connections in any number keep no film out of the DICOM side of the same process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("resource")  # Windows has no such limit

import resource

from peers import wait_for as wait_until
from server_log import wait_for

CONNECTIONS = 1200  # pynetdicom cannot wait for a file numbered 1024 or above
PATIENCE_S = 60


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("this process may not open 4096 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def echoes(port: str) -> bool:
    # in a process of its own: this one has as many files open
    command = [sys.executable, "-m", "pynetdicom", "echoscu", "127.0.0.1", port, "-aec", "XRAYTRANSFER"]
    return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S).returncode == 0


@pytest.mark.usefixtures("many_files")
def test_idle_http_connections_keep_no_association_out(toy_model: Path, tmp_path: Path) -> None:
    options = ["--dicom-spool", str(tmp_path / "spool"), "--dicom-port", "0", "--send-to", "AWAY@127.0.0.1:1"]
    command = [sys.executable, "-m", "xraytransfer", "serve", "--model", str(toy_model), "--device", "cpu", *options]
    log = tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen([*command, "--port", "0"], stderr=file, env={**os.environ}) as server:
        try:
            port, url = wait_for(log, r"port (\d+);"), urlsplit(wait_for(log, r"listening on (\S+)"))
            with contextlib.ExitStack() as held:
                for _ in range(CONNECTIONS):
                    held.enter_context(socket.create_connection((url.hostname, url.port)))
                wait_until(lambda: echoes(port), seconds=6)  # after 10 s idle connections are ended anyway
        finally:
            server.terminate()
        assert server.wait(PATIENCE_S) == 0
