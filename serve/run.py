"""Run: the life of the server's process, from the first scored film to the last answer after SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import threading
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING

import uvicorn

from xraytransfer.classifier import load
from xraytransfer.errors import RadiographError, ServeError
from xraytransfer.serve.engine import Engine
from xraytransfer.serve.log import log
from xraytransfer.serve.metrics import Metrics
from xraytransfer.serve.web.app import create_app
from xraytransfer.serve.web.connections import Answering, Connections, raise_open_files

if TYPE_CHECKING:
    from types import FrameType

    from xraytransfer.serve.dicom_settings import DicomSettings
    from xraytransfer.serve.settings import Settings

__all__ = ["HttpServer", "run"]

_BACKLOG = 1024  # connections that wait to be accepted
_MAX_HEAD_BYTES = 64 * 1024
_OTHER_FILES = 512  # the model, the spool, the DICOM side's associations
_SELECT_FILES = 1024  # pynetdicom waits by select(2), which knows no file of this number or above


class HttpServer(uvicorn.Server):
    """uvicorn with the application, its limits and the watcher of stuck connections.

    Parameters
    ----------
    engine : Engine
        Already running; it outlives the server.
    settings : Settings
    metrics : Metrics
    """

    def __init__(self, engine: Engine, settings: Settings, metrics: Metrics) -> None:
        self.connections = Connections(settings.idle_timeout_s, settings.max_connections)
        app = create_app(engine, settings, metrics)
        app.add_middleware(Answering, connections=self.connections)
        self.readiness = app.state.server.readiness
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
                http=self.connections.protocol(),
                h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
                lifespan="off",
                ws="none",
                access_log=False,  # it would log paths and queries as clients wrote them
                log_config=None,
                server_header=False,
                # client addresses are not used, so no proxy needs to be trusted
                proxy_headers=False,
                timeout_keep_alive=max(1, int(settings.idle_timeout_s)),
                timeout_graceful_shutdown=settings.drain_s,
            )
        )

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `should_exit` is set; then answer the accepted requests."""
        watching = asyncio.create_task(self.connections.watch())
        try:
            await super().serve(sockets)
        finally:
            watching.cancel()


def _beside_dicom(settings: Settings) -> Settings:
    """Return settings with so few HTTP connections that the DICOM side's own files keep low numbers."""
    return replace(settings, max_connections=min(settings.max_connections, _SELECT_FILES - _OTHER_FILES))


def _check_tls(settings: Settings) -> None:
    """Raise `ServeError` for a certificate or key that cannot be used, before anything is loaded."""
    if settings.tls_certificate is None or settings.tls_key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:  # ssl.SSLError is one
        raise ServeError(
            f"--tls-certificate {settings.tls_certificate}, --tls-key {settings.tls_key}: {_tls_problem(error)}; "
            "expected a certificate chain and its key, both PEM"
        ) from error


def _tls_problem(error: OSError) -> str:
    if not isinstance(error, ssl.SSLError):
        return error.strerror or type(error).__name__
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is another certificate's"
    reason = f" ({error.reason.replace('_', ' ').lower()})" if error.reason else ""
    return f"one of them cannot be used{reason}"


def run(settings: Settings, dicom: DicomSettings | None = None) -> None:
    """Serve until SIGTERM or SIGINT; then answer accepted films and refuse new ones.

    Parameters
    ----------
    settings : Settings
    dicom : DicomSettings, optional
        None: HTTP only.

    Raises
    ------
    ServeError
        The model does not score a film, the address is taken, or the DICOM side cannot start.
    ModelFileError, DeviceError
        As `xraytransfer.load`; also where the model file's self-test fails.
    """
    _check_tls(settings)
    if dicom is not None:
        settings = _beside_dicom(settings)
    raise_open_files(settings.max_connections + _OTHER_FILES)
    metrics = Metrics()
    # One thread within a run: films run side by side on the CPU, and a GPU does not use them.
    classifier = load(settings.model, device=settings.device, threads=1, unintended_films=settings.unintended_films)
    classifier.self_test()
    with ExitStack() as last, ExitStack() as stack:
        engine = stack.enter_context(closing(Engine(classifier, settings, metrics)))
        server = HttpServer(engine, settings, metrics)
        _end_in_order(server)
        try:
            server.readiness.score_now()
        except RadiographError as error:
            raise ServeError(
                f"the model {classifier.description.name} does not score the film of /readyz "
                f"({settings.ready_film or 'a drawn phantom'}): {error.message.removeprefix('<bytes>: ')}"
            ) from error
        if dicom is not None:
            from xraytransfer.serve.dicom.service import start_dicom

            service = stack.enter_context(closing(start_dicom(dicom, engine, metrics)))
            server.readiness.checks.append(lambda: service.state().problem)
        listener = stack.enter_context(_listen(settings))
        log.info(
            "%s on %s, %d side by side, batches of %d; listening on %s://%s:%d",
            classifier.description.name,
            classifier.provider,
            engine.workers,
            engine.batch_size,
            "https" if settings.tls_certificate else "http",
            f"[{settings.host}]" if ":" in settings.host else settings.host,
            listener.getsockname()[1],
        )
        last.callback(log.info, "ended")  # when all else has
        server.run(sockets=[listener])


def _end_in_order(server: HttpServer) -> None:
    """Let SIGTERM set `should_exit` at any time.

    uvicorn handles the signal only while it serves, and raises it again after the last answer. The default handler
    would then kill the process while results are still being sent to a PACS.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ask)


def _listen(settings: Settings) -> socket.socket:
    """Return a socket that listens, or raise `ServeError`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=socket.AddressFamily(family), backlog=_BACKLOG)
    except OSError as error:
        raise ServeError(
            # Python's message repeats the address
            f"cannot listen on {settings.host}:{settings.port}: {str(error.strerror).partition(' (while')[0]}; "
            "give another --host or --port, or stop the server that is there"
        ) from error
