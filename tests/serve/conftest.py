"""Fixtures of the server: its HTTP side and its DICOM side on ports of their own."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class RunningServer:
    """A real HTTP server on a port of its own, around a real engine."""

    port: int
    engine: Any
    metrics: Any
    http: Any

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def serve_http(toy_model: Path) -> Iterator[Callable[..., RunningServer]]:
    """Return a function that starts a server with given settings; all are stopped after the tests of the file."""
    pytest.importorskip("uvicorn")
    from xraytransfer import load
    from xraytransfer.serve.engine import Engine
    from xraytransfer.serve.metrics import Metrics
    from xraytransfer.serve.run import HttpServer
    from xraytransfer.serve.settings import Settings

    running: list[tuple[HttpServer, threading.Thread]] = []
    with contextlib.ExitStack() as engines:

        def start(**options: Any) -> RunningServer:
            options = {"workers": 2, "model": str(toy_model), **options}
            settings = Settings(**options)
            metrics = Metrics()
            engine = Engine(load(settings.model, device="cpu", threads=1), settings, metrics)
            engines.callback(engine.close)
            http = HttpServer(engine, settings, metrics)
            listener = socket.create_server(("127.0.0.1", 0))
            thread = threading.Thread(target=http.run, kwargs={"sockets": [listener]})
            thread.start()
            running.append((http, thread))
            while not http.started and thread.is_alive():
                thread.join(0.01)
            return RunningServer(listener.getsockname()[1], engine, metrics, http)

        yield start
        for http, _ in running:
            http.should_exit = True
        for _, thread in running:
            thread.join()


@pytest.fixture
def sockets_collected() -> Iterator[None]:
    """Collect what is unreachable after a test: pynetdicom leaves the sockets of failed connections behind."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def engine(toy_model: Path) -> Iterator[Any]:
    """Return an engine of one worker around the toy model."""
    from xraytransfer import load
    from xraytransfer.serve.engine import Engine
    from xraytransfer.serve.metrics import Metrics
    from xraytransfer.serve.settings import Settings

    engine = Engine(load(toy_model, device="cpu", threads=1), Settings(workers=1), Metrics())
    yield engine
    engine.close()


@pytest.fixture
def dicom_side(tmp_path: Path, engine: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that starts the DICOM side, on a port of its own, from destinations and changed settings."""
    from xraytransfer.serve.dicom.service import DicomService, start_dicom
    from xraytransfer.serve.dicom_settings import Destination, DicomSettings

    running: list[DicomService] = []

    def start(*destinations: str, **changes: Any) -> DicomService:
        options: dict[str, Any] = {
            "spool": tmp_path / "spool",
            "destinations": tuple(map(Destination.parse, destinations)),
            "port": 0,
            "retry_base_s": 0.05,
            "retry_max_s": 0.2,
            "min_free_bytes": 0,
        }
        running.append(start_dicom(DicomSettings(**{**options, **changes}), engine))
        return running[-1]

    yield start
    for service in running:
        service.close()


@pytest.fixture
def toolkits_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the scripts of Python environments: pynetdicom's are called storescu and echoscu like DCMTK's."""
    kept = [folder for folder in os.environ["PATH"].split(os.pathsep) if not _is_script(Path(folder, "storescu"))]
    monkeypatch.setenv("PATH", os.pathsep.join(kept))


def _is_script(path: Path) -> bool:
    """Return whether a file is there and begins as scripts do."""
    return path.is_file() and path.read_bytes()[:2] == b"#!"
