"""The server as a process of its own, with real peers on loopback: DCMTK, dicom3tools and Orthanc."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")
pytest.importorskip("dicomweb_client")

import highdicom as hd
from pydicom import Dataset, dcmread
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from orthanc import WEB_PLUGINS, Orthanc
from peers import free_port, need, wait_for
from xraytransfer.errors import ServeError
from xraytransfer.model_file import describe
from xraytransfer.serve.dicom.dicomweb import films_of_examination, open_client

pytestmark = [
    pytest.mark.peer,
    pytest.mark.usefixtures("sockets_collected", "toolkits_of_the_system"),
    pytest.mark.skipif(os.name == "nt", reason="these peers run on Linux"),
    # pynetdicom leaves the socket of a connection that failed to the garbage collector
    pytest.mark.filterwarnings("ignore:Exception ignored in. <s(ocket|sl):pytest.PytestUnraisableExceptionWarning"),
]
SYNTAXES = {  # what storescu is told, and the DCMTK program that makes the film
    "-xe": ["dcmconv", "+te"],
    "-xi": ["dcmconv", "+ti"],
    "-xs": ["dcmcjpeg", "+e1"],
    "-xt": ["dcmcjpls", "+el"],
    "-xr": ["dcmcrle"],
}


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    need("Orthanc")
    if not WEB_PLUGINS[0].is_file():
        pytest.skip("Orthanc's DICOMweb plugin is not installed: apt-get install orthanc-dicomweb")
    archive = Orthanc(tmp_path_factory.mktemp("peers") / "orthanc")
    archive.start()
    yield archive
    archive.stop()


class Server:
    """``xraytransfer serve`` as a process."""

    def __init__(self, model: Path, spool: Path, *destinations: str) -> None:
        self.spool, self.port = spool, 0
        self._command = [sys.executable, "-m", "xraytransfer", "serve", "--model", str(model), "--device", "cpu"]
        self._command += ["--port", "0", "--dicom-port", "0", "--dicom-spool", str(spool)]
        for destination in destinations:
            self._command += ["--send-to", destination]
        self._process: subprocess.Popen[str] | None = None
        self.log: list[str] = []

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        stderr = self._process.stderr
        assert stderr is not None
        for line in stderr:
            self.log.append(line)
            if found := re.search(r"listens on 127.0.0.1 port (\d+)", line):
                self.port = int(found[1])
                break
        else:
            pytest.fail("the server did not start: " + "".join(self.log))
        self._reader = threading.Thread(target=self._read, args=(stderr,))
        self._reader.start()

    def _read(self, stderr: Any) -> None:
        with stderr:
            self.log.extend(stderr)

    def end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._reader.join()
            self._process = None

    def files(self) -> list[Path]:
        return sorted((self.spool / "files").glob("*.dcm"))


@pytest.fixture
def serve(toy_model: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    made = []

    def make(*destinations: str) -> Server:
        made.append(Server(toy_model, tmp_path / "spool", *destinations))
        made[-1].start()
        return made[-1]

    yield make
    for server in made:
        server.end(signal.SIGKILL)
        sys.stdout.write("".join(server.log))  # shown where a test fails


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory, sample_film: Callable[[str], Path]) -> dict[str, Path]:
    """Return a real film, smaller, in five transfer syntaxes; five films of one examination."""
    need("dcmconv", "dcmcjpeg", "dcmcjpls", "dcmcrle")
    folder = tmp_path_factory.mktemp("films")
    film = dcmread(sample_film("RG1_UNCR"))
    pixels = film.pixel_array[::4, ::4]
    film.Rows, film.Columns = pixels.shape
    film.PixelData = pixels.tobytes()
    made = {}
    for number, (option, command) in enumerate(SYNTAXES.items()):
        film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.10.2.{number}"
        film.InstanceNumber = number + 1
        film.save_as(folder / "plain.dcm")
        run(*command, folder / "plain.dcm", folder / f"{number}.dcm")
        made[option] = folder / f"{number}.dcm"
    return made


def another_examination(films: dict[str, Path], folder: Path, study_uid: str, count: int = 3) -> list[Path]:
    """Return films of another examination of another patient."""
    paths = []
    for number in range(count):
        film = dcmread(films["-xe"])
        film.StudyInstanceUID, film.PatientID = study_uid, f"ID-{study_uid}"
        film.SeriesInstanceUID = f"{study_uid}.1"
        film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = f"{study_uid}.1.{number}"
        film.StudyID = film.AccessionNumber = study_uid[-8:]
        paths.append(folder / f"{study_uid}-{number}.dcm")
        film.save_as(paths[-1])
    return paths


def store(port: int, option: str, *paths: Path) -> None:
    run("storescu", option, "-R", "-aec", "XRAYTRANSFER", "127.0.0.1", port, *paths)


def test_five_transfer_syntaxes_and_an_archive_that_comes_back(
    orthanc: Orthanc, serve: Callable[..., Server], films: dict[str, Path], tmp_path: Path
) -> None:
    need("storescu", "echoscu", "dsrdump", "dciodvfy")
    study_uid = dcmread(films["-xe"], stop_before_pixels=True).StudyInstanceUID
    server = serve(f"ORTHANC@127.0.0.1:{orthanc.port}")
    run("echoscu", "-aec", "XRAYTRANSFER", "127.0.0.1", server.port)
    for option, path in films.items():
        store(server.port, option, path)
        run("storescu", option, "-R", "-aec", "ORTHANC", "127.0.0.1", orthanc.port, path)
    wait_for(lambda: len(orthanc.instances(study_uid)) == 15)
    reports, all_uids = orthanc.instances(study_uid, "SR"), orthanc.instances(study_uid)
    assert len(reports) == 5
    (study,) = orthanc.ask(f"/dicom-web/studies?StudyInstanceUID={study_uid}")
    assert study["00201206"]["Value"] == [3]  # series: films, reports, captures

    checked = {Comprehensive3DSRStorage: 0, SecondaryCaptureImageStorage: 0}
    with open_client(f"{orthanc.root}/dicom-web") as client:
        # as stored: Orthanc's threads have little stack, and changing a film's syntax in one may end the process
        for result in client.retrieve_study(study_uid, media_types=(("application/dicom", "*"),)):
            if result.SOPClassUID in checked:
                checked[result.SOPClassUID] += 1
                _check_result(result, tmp_path)
    assert set(checked.values()) == {5}

    store(server.port, "-xs", films["-xs"])  # again: no duplicates
    wait_for(lambda: server.files() == [])
    later = another_examination(films, tmp_path, "1.2.826.0.1.3680043.10.3")
    orthanc.stop()
    store(server.port, "-xe", *later[:2])
    wait_for(lambda: any("next attempt" in line for line in server.log))
    store(server.port, "-xe", later[2])
    assert len(server.files()) >= 3
    orthanc.start()
    wait_for(lambda: len(orthanc.instances("1.2.826.0.1.3680043.10.3")) == 6)
    assert orthanc.instances(study_uid) == all_uids

    server.end(signal.SIGTERM)
    logged = "".join(server.log)
    for secret in ("CompressedSamples", "9RG1", study_uid, "3680043"):
        assert secret not in logged


def _check_result(result: Dataset, folder: Path) -> None:
    """Check a result that came back from an archive with the toolkits."""
    path = folder / f"{result.SOPInstanceUID}.dcm"
    result.save_as(path, enforce_file_format=True)
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=60).stderr
    assert not [line for line in said.splitlines() if line.startswith("Error")], said
    assert str(result.PatientName) == "CompressedSamples^RG1"
    if result.SOPClassUID == Comprehensive3DSRStorage:
        assert "UNVERIFIED" in run("dsrdump", path)
        read = hd.sr.Comprehensive3DSR.from_dataset(result)
        assert len(read.content.get_image_measurement_groups()) == 6
    else:
        assert result.BurnedInAnnotation == "YES"


def test_a_recalibrated_model_beside_the_shipped_one(
    orthanc: Orthanc,
    toy_model: Path,
    toy_model_writer: Callable[..., None],
    films: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Two decisions on one film are two objects; and a file of `predict` is what the server sends."""
    need("storescu")
    study_uid = "1.2.826.0.1.3680043.10.9"
    (film,) = another_examination(films, tmp_path, study_uid, count=1)
    recalibrated = tmp_path / "site.onnx"
    document = describe(toy_model).document
    points = [{**row, "threshold": 1.0 - row["threshold"]} for row in document["operating_points"]]
    toy_model_writer(recalibrated, operating_points=points)
    written: dict[str, Dataset] = {}
    for number, model in enumerate((toy_model, recalibrated)):
        server = Server(model, tmp_path / f"spool{number}", f"ORTHANC@127.0.0.1:{orthanc.port}")
        server.start()
        try:
            store(server.port, "-xe", film)
            wait_for(lambda expected=number + 1: len(orthanc.instances(study_uid, "SR")) == expected)
        finally:
            server.end(signal.SIGTERM)
        folder = tmp_path / "sr"
        command = (sys.executable, "-m", "xraytransfer", "predict", film, "--model", model, "--device", "cpu")
        run(*command, "--sr", folder)
        run(*command, "--sr", folder)  # again: the same file
        written = {path.stem: dcmread(path) for path in folder.iterdir()}
        assert len(written) == number + 1
    assert orthanc.instances(study_uid, "SR") == sorted(written)
    one, other = written.values()
    assert one.SeriesInstanceUID != other.SeriesInstanceUID
    assert one.DeviceSerialNumber != other.DeviceSerialNumber
    with open_client(f"{orthanc.root}/dicom-web") as client:
        for stored in client.retrieve_study(study_uid, media_types=(("application/dicom", "*"),)):
            if stored.SOPClassUID == Comprehensive3DSRStorage:
                assert stored.to_json() == written[stored.SOPInstanceUID].to_json()


class BlockingPacs:
    """An archive that can be told to hold back its answers."""

    def __init__(self) -> None:
        self.kept: dict[str, Dataset] = {}
        self.seen, self.answer = threading.Event(), threading.Event()
        self.answer.set()
        entity = AE("PACS")
        for sop_class in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
            entity.add_supported_context(sop_class, ExplicitVRLittleEndian)
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self.port = self._server.server_address[1]

    def _store(self, event: Any) -> int:
        dataset = dcmread(BytesIO(event.encoded_dataset()))
        first = self.kept.setdefault(dataset.SOPInstanceUID, dataset)
        assert first.to_json() == dataset.to_json()  # sent twice, it is the same object
        self.seen.set()
        self.answer.wait(30)
        return 0x0000

    def stop(self) -> None:
        self.answer.set()
        self._server.shutdown()


@pytest.fixture
def pacs() -> Iterator[BlockingPacs]:
    archive = BlockingPacs()
    yield archive
    archive.stop()


def test_killed_at_each_stage_everything_arrives_once(
    serve: Callable[..., Server], films: dict[str, Path], pacs: BlockingPacs, tmp_path: Path
) -> None:
    need("storescu")
    paths = another_examination(films, tmp_path, "1.2.826.0.1.3680043.10.4", count=4)
    server = serve(f"PACS@127.0.0.1:{pacs.port}")

    # while a film is on the wire: its sender hears nothing, and sends it again
    association = _associate(server.port)
    sent = []

    def kill_half_way(event: Any) -> None:
        sent.append(event)
        if len(sent) == 4:
            server.end(signal.SIGKILL)

    association.bind(evt.EVT_PDU_SENT, kill_half_way)
    assert "Status" not in association.send_c_store(dcmread(paths[0]))
    association.abort()
    server.start()
    assert server.files() == []

    # received and acknowledged, not yet scored
    association = _associate(server.port)
    for path in paths[:2]:
        assert association.send_c_store(dcmread(path)).Status == 0x0000
    server.end(signal.SIGKILL)
    association.abort()
    assert len(server.files()) >= 1

    # scored, and the archive has seen a result but has not answered
    pacs.answer.clear()
    server.start()
    assert pacs.seen.wait(60)
    wait_for(lambda: len(server.files()) == 4)
    server.end(signal.SIGKILL)
    assert len(server.files()) == 4
    pacs.answer.set()

    # nothing is left but sending
    server.start()
    wait_for(lambda: len(pacs.kept) == 4 and server.files() == [])

    # again and again at any moment
    for path in paths[2:]:
        store(server.port, "-xe", path)
        server.end(signal.SIGKILL)
        server.start()
    wait_for(lambda: len(pacs.kept) == 8 and server.files() == [])
    assert {result.StudyInstanceUID for result in pacs.kept.values()} == {"1.2.826.0.1.3680043.10.4"}
    assert list((server.spool / "dead").iterdir()) == []


def _associate(port: int) -> Any:
    scu = AE("CR1")
    scu.add_requested_context("1.2.840.10008.5.1.4.1.1.1", ExplicitVRLittleEndian)
    association = scu.associate("127.0.0.1", port, ae_title="XRAYTRANSFER")
    assert association.is_established
    return association


def test_dicomweb_out_and_in_with_confirmation(
    orthanc: Orthanc, dicom_side: Callable[..., Any], films: dict[str, Path], tmp_path: Path, toy_model: Path
) -> None:
    need("storescu")
    web = f"{orthanc.root}/dicom-web"
    service = dicom_side(web, f"ORTHANC@127.0.0.1:{orthanc.port}", confirm_after_s=0.2)
    study_uid = "1.2.826.0.1.3680043.10.5"
    paths = another_examination(films, tmp_path, study_uid, count=2)
    for count in (2, 3):  # the last film is sent twice
        store(service.port, "-xe", *paths[count - 2 :])
        run("storescu", "-xe", "-aec", "ORTHANC", "127.0.0.1", orthanc.port, *paths)
        wait_for(lambda count=count: service.counts()["sent_total"] == count)
    assert service.counts()["dead_total"] == 0
    assert len(orthanc.instances(study_uid)) == 6

    command = [sys.executable, "-m", "xraytransfer", "predict", "--model", str(toy_model), "--device", "cpu"]
    command += ["--dicomweb", web, "--study-uid", study_uid, "--format", "jsonl", "--sr", str(tmp_path / "sr")]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert said.returncode == 0, said.stderr  # the films, and not the captures that now lie beside them
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert sorted(row["source"] for row in rows) == [f"{study_uid}.1.0", f"{study_uid}.1.1"]
    reports = {path.stem for path in (tmp_path / "sr").iterdir()}
    assert reports == set(orthanc.instances(study_uid, "SR"))  # the same objects as the server's
    with pytest.raises(ServeError, match="holds no examination"):
        list(films_of_examination(web, "1.2.3.4.5"))
    with pytest.raises(ServeError, match="HTTP status 404"):
        list(films_of_examination(f"{orthanc.root}/nothing", study_uid))
    with pytest.raises(ServeError, match="does not answer"):
        list(films_of_examination(f"http://127.0.0.1:{free_port()}", study_uid))


def test_storescp_keeps_the_results(dicom_side: Callable[..., Any], films: dict[str, Path], tmp_path: Path) -> None:
    need("storescu", "storescp", "dsrdump")
    port, folder = free_port(), tmp_path / "kept"
    folder.mkdir()
    with subprocess.Popen(["storescp", "-aet", "DCMTK", "-od", str(folder), str(port)]) as peer:
        try:
            service = dicom_side(f"DCMTK@127.0.0.1:{port}")
            store(service.port, "-xr", films["-xr"])
            wait_for(lambda: service.counts()["sent_total"] == 1)
        finally:
            peer.terminate()
    kept = sorted(folder.iterdir())
    assert len(kept) == 2
    (report,) = [path for path in kept if dcmread(path, stop_before_pixels=True).Modality == "SR"]
    assert "Pleural effusion" in run("dsrdump", report)


def test_tls_with_certificates_on_both_sides(
    dicom_side: Callable[..., Any], films: dict[str, Path], tmp_path: Path
) -> None:
    need("storescu", "openssl")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate),
        *("-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
    )
    service = dicom_side("PACS@127.0.0.1:1", tls_certificate=certificate, tls_key=key, tls_authorities=certificate)
    run(
        *("storescu", "+tls", key, certificate, "+cf", certificate, "-xe", "-aec", "XRAYTRANSFER"),
        *("127.0.0.1", service.port, films["-xe"]),
    )
    wait_for(lambda: service.counts()["received_total"] == 1)
    plain = subprocess.run(
        ["storescu", "-xe", "-aec", "XRAYTRANSFER", "127.0.0.1", str(service.port), str(films["-xe"])],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert plain.returncode != 0
