"""Fixtures of the server: its HTTP side and its DICOM side on ports of their own."""

from __future__ import annotations

import contextlib
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
