"""TLS for DICOM: both ways, with DCMTK, and against callers and nodes that cannot be trusted or say nothing."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from pydicom import dcmread

from peers import free_port, need, wait_for
from xraytransfer.errors import ServeError
from xraytransfer.serve.dicom.events import DicomEvents
from xraytransfer.serve.dicom.limited_receive import LimitedReceive
from xraytransfer.serve.dicom.service import DicomService, start_dicom
from xraytransfer.serve.dicom.tls import caller_context, node_context
from xraytransfer.serve.dicom_settings import Destination, DicomSettings
from xraytransfer.serve.engine import Engine

pytestmark = [
    pytest.mark.peer,
    pytest.mark.usefixtures("sockets_collected", "toolkits_of_the_system"),
    pytest.mark.skipif(os.name == "nt", reason="these peers run on Linux"),
    # pynetdicom leaves the socket of a connection that failed to the garbage collector
    pytest.mark.filterwarnings("ignore:Exception ignored in. <s(ocket|sl):pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from ``ours.pem``, ``theirs.key``, ``stranger.pem``, ... to a file made by openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("pki")
    for name, host in (("ours", "IP:127.0.0.1"), ("theirs", "IP:127.0.0.1"), ("stranger", "IP:127.0.0.1"),
                       ("elsewhere", "DNS:pacs.example.org")):  # fmt: skip
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", f"/CN={name}", "-addext", f"subjectAltName={host}",
             "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
    return folder.joinpath


@pytest.fixture
def start(dicom_side: Callable[..., DicomService], pki: Callable[[str], Path]) -> Callable[..., DicomService]:
    """Return a function that starts the DICOM side with TLS on both sides; a node's port is where results go."""
    times = {"answer_timeout_s": 2.0, "idle_timeout_s": 2.0}
    names = {"tls_certificate": "ours.pem", "tls_key": "ours.key", "tls_authorities": "theirs.pem"}
    files = {option: pki(name) for option, name in names.items()}
    return lambda port, **changes: dicom_side(f"DCMTK@127.0.0.1:{port}", **{**times, **files, **changes})


def identity(pki: Callable[[str], Path], name: str, trusted: str) -> list[str]:
    """Return what DCMTK is told about certificates."""
    return ["+tls", str(pki(f"{name}.key")), str(pki(f"{name}.pem")), "+cf", str(pki(f"{trusted}.pem"))]


def echo(port: int, *options: str) -> bool:
    command = ["echoscu", *options, "-to", "5", "-ta", "5", "-aec", "XRAYTRANSFER"]
    done = subprocess.run([*command, "127.0.0.1", str(port)], capture_output=True, check=False, timeout=60)
    return done.returncode == 0


@pytest.fixture
def film(sample_film: Callable[[str], Path]) -> Path:
    return sample_film("RG1_UNCR")


def test_films_in_and_results_out(start: Any, film: Path, pki: Callable[[str], Path], tmp_path: Path) -> None:
    need("storescp", "storescu")
    kept, port = tmp_path / "kept", free_port()
    kept.mkdir()
    node = ["storescp", *identity(pki, "theirs", "ours"), "-aet", "DCMTK", "-od", str(kept), str(port)]
    with subprocess.Popen(node) as peer:
        try:
            service = start(port)
            sender = ["storescu", *identity(pki, "theirs", "ours"), "-xe", "-R", "-aec", "XRAYTRANSFER"]
            command = [*sender, "127.0.0.1", str(service.port), str(film)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            wait_for(lambda: service.counts()["sent_total"] == 1)
        finally:
            peer.terminate()
    assert {dcmread(path, stop_before_pixels=True).Modality for path in kept.iterdir()} == {"SR", "OT"}


def test_who_may_call(start: Any, pki: Callable[[str], Path], caplog: Any) -> None:
    need("echoscu")
    service = start(1)
    assert echo(service.port, *identity(pki, "theirs", "ours"))
    assert not echo(service.port, *identity(pki, "stranger", "ours")), "a certificate that nobody trusts"
    assert not echo(service.port, "+tla", "+cf", str(pki("ours.pem"))), "no certificate"
    assert not echo(service.port), "no TLS"
    assert echo(service.port, *identity(pki, "theirs", "ours"))
    samples = [sample for family in service.collect() for sample in family.samples]
    assert next(sample.value for sample in samples if sample.labels.get("outcome") == "tls_failed") == 3
    failed = [text for text in caplog.messages if text.startswith("DICOM: TLS with 127.0.0.1 failed: ")]
    assert len(failed) == 3


def test_a_plain_node_beside_tls_callers(
    dicom_side: Any, pki: Callable[[str], Path], film: Path, tmp_path: Path
) -> None:
    need("storescp", "storescu")
    kept, port = tmp_path / "kept", free_port()
    kept.mkdir()
    with subprocess.Popen(["storescp", "-aet", "DCMTK", "-od", str(kept), str(port)]) as peer:
        try:
            files = {"tls_certificate": pki("ours.pem"), "tls_key": pki("ours.key")}
            service = dicom_side(f"dicom://DCMTK@127.0.0.1:{port}", **files, tls_authorities=pki("theirs.pem"))
            assert service._spool.receive(film.read_bytes())
            wait_for(lambda: service.counts()["sent_total"] == 1)
        finally:
            peer.terminate()
    assert len(list(kept.iterdir())) == 2


def test_without_authorities_callers_need_no_certificate(start: Any, pki: Callable[[str], Path]) -> None:
    need("echoscu")
    service = start(1, tls_authorities=None)
    assert echo(service.port, "+tla", "+cf", str(pki("ours.pem")))
    assert not echo(service.port)


def test_callers_who_say_nothing_keep_nobody_out(start: Any, pki: Callable[[str], Path]) -> None:
    need("echoscu")
    service = start(1)
    silent = [socket.create_connection(("127.0.0.1", service.port), 20) for _ in range(3)]
    try:
        assert echo(service.port, *identity(pki, "theirs", "ours"))
        for caller in silent:
            assert caller.recv(100) == b"", "ended after the time limit"
    finally:
        for caller in silent:
            caller.close()


def test_a_connection_that_is_hung_up_gives_no_encrypted_bytes(pki: Callable[[str], Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki("ours.pem"), pki("ours.key"))
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    near, far = socket.socketpair()
    sent = threading.Event()

    def talk() -> None:
        with stranger.wrap_socket(far) as peer:
            peer.sendall(bytes(50))
            peer.sendall(bytes(5000))
            sent.set()
            time.sleep(0.1)

    caller = threading.Thread(target=talk)
    caller.start()
    with context.wrap_socket(near, server_side=True) as connection:
        transport, settings = SimpleNamespace(socket=connection), DicomSettings(Path("s"), (Destination("x"),))
        receive = LimitedReceive(transport, settings, DicomEvents(), "peer")
        assert receive(50) == bytes(50)
        assert sent.wait(5)
        receive.hang_up()
        assert not any(receive(1000)), "what is read after the end is film, or nothing"
    caller.join(5)


@pytest.mark.parametrize("name", ["stranger", "elsewhere", ""])
def test_results_go_to_no_node_that_proves_nothing(
    start: Any, pki: Callable[[str], Path], film: Path, tmp_path: Path, name: str
) -> None:
    need("storescp", "storescu")
    kept, port = tmp_path / "kept", free_port()
    kept.mkdir()
    shown = identity(pki, name, "ours") if name else []
    with subprocess.Popen(["storescp", *shown, "-aet", "DCMTK", "-od", str(kept), str(port)]) as peer:
        try:
            service = start(port, tls_authorities=pki("elsewhere.pem" if name == "elsewhere" else "theirs.pem"))
            assert service._spool.receive(film.read_bytes())
            wait_for(lambda: service.counts()["scored_total"] == 1)
            time.sleep(1.0)  # several attempts
        finally:
            peer.terminate()
    assert not list(kept.iterdir())
    assert service.counts()["results_waiting"] == 2, "they wait: the node may be mended"


def test_a_node_that_says_nothing_is_given_up_in_time(start: Any, film: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        service = start(silent.getsockname()[1])
        assert service._spool.receive(film.read_bytes())
        wait_for(lambda: service.counts()["scored_total"] == 1)
        silent.settimeout(30)
        first, _ = silent.accept()
        second, _ = silent.accept()  # it came again
        first.close()
        second.close()
        service.close()


def test_files_that_are_no_certificates(tmp_path: Path, pki: Callable[[str], Path], engine: Engine) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    node = Destination.parse("DCMTK@127.0.0.1:1")
    settings = DicomSettings(spool=tmp_path / "spool", destinations=(node,), tls_authorities=nonsense)
    with pytest.raises(ServeError, match="certificates cannot be used"):
        node_context(node, settings)
    with pytest.raises(ServeError, match="certificates cannot be used"):
        start_dicom(settings, engine)  # at the start, not when the first result waits
    settings = DicomSettings(
        spool=tmp_path, destinations=(node,), tls_certificate=pki("ours.pem"), tls_key=pki("theirs.key")
    )
    with pytest.raises(ServeError, match="certificates cannot be used"):
        caller_context(settings)
    assert caller_context(DicomSettings(spool=tmp_path, destinations=(node,))) is None
