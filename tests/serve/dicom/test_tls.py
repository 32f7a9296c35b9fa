"""TLS for DICOM: both ways, with DCMTK, and against callers and nodes that cannot be trusted or say nothing."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")

from pydicom import dcmread

from xraytransfer.classifier import load
from xraytransfer.errors import ServeError
from xraytransfer.serve.dicom.service import DicomService, start_dicom
from xraytransfer.serve.dicom.tls import caller_context, node_context
from xraytransfer.serve.dicom_settings import Destination, DicomSettings
from xraytransfer.serve.engine import Engine
from xraytransfer.serve.metrics import Metrics
from xraytransfer.serve.settings import Settings

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(os.name == "nt", reason="these peers run on Linux"),
    # pynetdicom leaves the socket of a connection that failed to the garbage collector
    pytest.mark.filterwarnings("ignore:Exception ignored in. <s(ocket|sl):pytest.PytestUnraisableExceptionWarning"),
]
DCMTK = Path("/usr/bin")  # pynetdicom's own programs are called the same


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()


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
def start(toy_model: Path, tmp_path: Path, pki: Callable[[str], Path]) -> Iterator[Callable[..., DicomService]]:
    """Return a function that starts the DICOM side with TLS on both sides; a node's port is where results go."""
    engine = Engine(load(toy_model, device="cpu", threads=1), Settings(workers=1), Metrics())
    running = []

    def start(port: int, **changes: Any) -> DicomService:
        options: dict[str, Any] = {
            "tls_certificate": pki("ours.pem"),
            "tls_key": pki("ours.key"),
            "tls_authorities": pki("theirs.pem"),
            **changes,
        }
        settings = DicomSettings(
            spool=tmp_path / "spool",
            destinations=(Destination.parse(f"DCMTK@127.0.0.1:{port}"),),
            port=0,
            answer_timeout_s=2.0,
            idle_timeout_s=2.0,
            retry_base_s=0.1,
            retry_max_s=0.2,
            min_free_bytes=0,
            **options,
        )
        running.append(start_dicom(settings, engine))
        return running[-1]

    yield start
    for service in running:
        service.close()
    engine.close()


def need(*programs: str) -> None:
    for program in programs:
        if not (DCMTK / program).is_file():
            pytest.skip(f"{program} is not installed: apt-get install dcmtk")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def identity(pki: Callable[[str], Path], name: str, trusted: str) -> list[str]:
    """Return what DCMTK is told about certificates."""
    return ["+tls", str(pki(f"{name}.key")), str(pki(f"{name}.pem")), "+cf", str(pki(f"{trusted}.pem"))]


def echo(port: int, *options: str) -> bool:
    command = [str(DCMTK / "echoscu"), *options, "-to", "5", "-ta", "5", "-aec", "XRAYTRANSFER"]
    done = subprocess.run([*command, "127.0.0.1", str(port)], capture_output=True, check=False, timeout=60)
    return done.returncode == 0


def film() -> Path:
    spec = importlib.util.find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package pydicom-data is not installed: pip install 'xraytransfer[sample]'")
    return Path(next(iter(spec.submodule_search_locations))) / "data" / "RG1_UNCR.dcm"


def test_films_in_and_results_out(start: Any, pki: Callable[[str], Path], tmp_path: Path) -> None:
    need("storescp", "storescu")
    kept, port = tmp_path / "kept", free_port()
    kept.mkdir()
    node = [str(DCMTK / "storescp"), *identity(pki, "theirs", "ours"), "-aet", "DCMTK", "-od", str(kept), str(port)]
    with subprocess.Popen(node) as peer:
        try:
            service = start(port)
            sender = [str(DCMTK / "storescu"), *identity(pki, "theirs", "ours"), "-xe", "-R", "-aec", "XRAYTRANSFER"]
            command = [*sender, "127.0.0.1", str(service.port), str(film())]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
            wait_for(lambda: service.counts()["sent_total"] == 1)
        finally:
            peer.terminate()
    assert {dcmread(path, stop_before_pixels=True).Modality for path in kept.iterdir()} == {"SR", "OT"}


def test_who_may_call(start: Any, pki: Callable[[str], Path]) -> None:
    need("echoscu")
    service = start(1)
    assert echo(service.port, *identity(pki, "theirs", "ours"))
    assert not echo(service.port, *identity(pki, "stranger", "ours")), "a certificate that nobody trusts"
    assert not echo(service.port, "+tla", "+cf", str(pki("ours.pem"))), "no certificate"
    assert not echo(service.port), "no TLS"
    assert echo(service.port, *identity(pki, "theirs", "ours"))


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


@pytest.mark.parametrize("name", ["stranger", "elsewhere", ""])
def test_results_go_to_no_node_that_proves_nothing(
    start: Any, pki: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    need("storescp", "storescu")
    kept, port = tmp_path / "kept", free_port()
    kept.mkdir()
    shown = identity(pki, name, "ours") if name else []
    with subprocess.Popen([str(DCMTK / "storescp"), *shown, "-aet", "DCMTK", "-od", str(kept), str(port)]) as peer:
        try:
            service = start(port, tls_authorities=pki("elsewhere.pem" if name == "elsewhere" else "theirs.pem"))
            assert service._spool.receive(film().read_bytes())
            wait_for(lambda: service.counts()["scored_total"] == 1)
            time.sleep(1.0)  # several attempts
        finally:
            peer.terminate()
    assert not list(kept.iterdir())
    assert service.counts()["results_waiting"] == 2, "they wait: the node may be mended"


def test_a_node_that_says_nothing_is_given_up_in_time(start: Any, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        service = start(silent.getsockname()[1])
        assert service._spool.receive(film().read_bytes())
        wait_for(lambda: service.counts()["scored_total"] == 1)
        silent.settimeout(30)
        first, _ = silent.accept()
        second, _ = silent.accept()  # it came again
        first.close()
        second.close()
        service.close()


def test_files_that_are_no_certificates(tmp_path: Path, pki: Callable[[str], Path], toy_model: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    node = Destination.parse("DCMTK@127.0.0.1:1")
    settings = DicomSettings(spool=tmp_path / "spool", destinations=(node,), tls_authorities=nonsense)
    with pytest.raises(ServeError, match="certificates cannot be used"):
        node_context(node, settings)
    engine = Engine(load(toy_model, device="cpu", threads=1), Settings(workers=1), Metrics())
    with pytest.raises(ServeError, match="certificates cannot be used"):
        start_dicom(settings, engine)  # at the start, not when the first result waits
    engine.close()
    settings = DicomSettings(
        spool=tmp_path, destinations=(node,), tls_certificate=pki("ours.pem"), tls_key=pki("theirs.key")
    )
    with pytest.raises(ServeError, match="certificates cannot be used"):
        caller_context(settings)
    assert caller_context(DicomSettings(spool=tmp_path, destinations=(node,))) is None
