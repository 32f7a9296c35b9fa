"""The DICOM side with peers in this process: films in, results out, and everything that peers do wrong."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import socket
import sqlite3
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("highdicom")
pytest.importorskip("prometheus_client")

from click.testing import CliRunner
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)
from pynetdicom.transport import AssociationSocket, RequestHandler

from peers import wait_for
from xraytransfer.cli.entry import cli
from xraytransfer.errors import REASONS, ServeError
from xraytransfer.serve.dicom import drain, scp, worker
from xraytransfer.serve.dicom.association_server import AssociationServer
from xraytransfer.serve.dicom.service import DicomService, start_dicom
from xraytransfer.serve.dicom_settings import Destination, DicomSettings
from xraytransfer.serve.engine import Engine
from xraytransfer.serve.metrics import Metrics
from xraytransfer.serve.spool.spool import MAX_ATTEMPTS, Spool

# pynetdicom leaves the socket of a connection that failed to the garbage collector.
pytestmark = [
    pytest.mark.usefixtures("sockets_collected"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <s(ocket|sl):pytest.PytestUnraisableExceptionWarning"),
]

NAME = "Muster^Erika"
SERIES = "Chest observations (research use, not for diagnosis)"


def make_film(number: int = 1, **changes: Any) -> Dataset:
    """Return a small PA chest film; `number` tells films and examinations apart."""
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SOPClassUID = ComputedRadiographyImageStorage
    film.SOPInstanceUID = f"1.2.826.0.1.3680043.10.1.{number}.3"
    film.StudyInstanceUID = f"1.2.826.0.1.3680043.10.1.{number}.1"
    film.SeriesInstanceUID = f"1.2.826.0.1.3680043.10.1.{number}.2"
    film.PatientName, film.PatientID, film.PatientBirthDate = NAME, "MRN-0815", "19700101"
    film.AccessionNumber, film.StudyDate, film.Modality = "ACC-4711", "20260101", "CR"
    film.BodyPartExamined, film.ViewPosition = "CHEST", "PA"
    film.PhotometricInterpretation, film.SamplesPerPixel = "MONOCHROME2", 1
    film.Rows, film.Columns, film.BitsAllocated, film.BitsStored, film.HighBit = 96, 80, 16, 12, 11
    film.PixelRepresentation = 0
    rows, columns = np.mgrid[:96, :80]
    film.PixelData = ((rows * 40 + columns * 3 + 37 * number) % 4096).astype("<u2").tobytes()
    for keyword, value in changes.items():
        setattr(film, keyword, value)
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
    return film


class Pacs:
    """An archive: keeps what it is sent, and answers what it is told to.

    `statuses` are returned one after the other, then 0; a callable is called with the event instead. `find_statuses`
    are returned one after the other instead of answers to C-FIND.
    """

    def __init__(self, *, find: bool = False) -> None:
        self.kept: dict[str, Dataset] = {}
        self.stored: list[str] = []
        self.statuses: list[int | Callable[[Any], int]] = []
        self.find_statuses: list[int] = []
        self.entity = AE("PACS")
        self.entity.require_called_aet = True
        self.entity.add_supported_context(Comprehensive3DSRStorage)
        self.entity.add_supported_context(SecondaryCaptureImageStorage)
        if find:
            self.entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        self.server: Any = None
        self.port = 0
        self.start()

    def start(self) -> None:
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        self.server = self.entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = self.server.server_address[1]

    def stop(self) -> None:
        self.server.shutdown()

    def _store(self, event: Any) -> int:
        status = self.statuses.pop(0) if self.statuses else 0
        if callable(status):
            status = status(event)
        if status == 0:
            dataset = dcmread(BytesIO(event.encoded_dataset()))
            self.stored.append(dataset.SOPInstanceUID)
            self.kept[dataset.SOPInstanceUID] = dataset
        return status

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        if self.find_statuses:
            yield self.find_statuses.pop(0), None
            return
        wanted = event.identifier.SOPInstanceUID
        if wanted in self.kept:
            answer = Dataset()
            answer.QueryRetrieveLevel, answer.SOPInstanceUID = "IMAGE", wanted
            yield 0xFF00, answer


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    archive = Pacs(find=True)
    yield archive
    archive.stop()


@pytest.fixture
def start(dicom_side: Callable[..., DicomService], pacs: Pacs) -> Callable[..., DicomService]:
    """Return a function that starts the DICOM side beside the archive; one result for each film is half the work."""
    return partial(dicom_side, f"PACS@127.0.0.1:{pacs.port}", answer_timeout_s=5.0, secondary_capture=False)


def send(
    service: DicomService,
    *films: Dataset,
    sop_class: str = ComputedRadiographyImageStorage,
    syntax: str = ExplicitVRLittleEndian,
    calling: str = "CR1",
    called: str = "XRAYTRANSFER",
) -> list[int | None]:
    """Send films over one association; return their statuses, None where no answer came."""
    scu = AE(calling)
    scu.add_requested_context(sop_class, syntax)
    association = scu.associate("127.0.0.1", service.port, ae_title=called)
    assert association.is_established
    statuses = [association.send_c_store(film).get("Status") for film in films]
    association.release()
    return statuses


def test_results_arrive_in_the_films_examination(start: Any, pacs: Pacs, tmp_path: Path) -> None:
    service = start(secondary_capture=True)
    film = make_film()
    assert send(service, film) == [0x0000]
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert {str(result.SOPClassUID) for result in pacs.kept.values()} == {
        Comprehensive3DSRStorage,
        SecondaryCaptureImageStorage,
    }
    for result in pacs.kept.values():
        assert result.StudyInstanceUID == film.StudyInstanceUID
        assert (result.PatientID, str(result.PatientName), result.AccessionNumber) == (
            "MRN-0815",
            NAME,
            "ACC-4711",
        )
    assert service.counts()["films_waiting"] == service.counts()["results_waiting"] == 0
    wait_for(lambda: not list((tmp_path / "spool" / "files").iterdir()))  # removed once it is written down


def test_a_film_sent_again_makes_the_same_objects(start: Any, pacs: Pacs) -> None:
    service = start(secondary_capture=True)
    for count in (1, 2):
        assert send(service, make_film()) == [0x0000]
        wait_for(lambda count=count: service.counts()["sent_total"] == count)
        if count == 1:
            first = {uid: result.to_json() for uid, result in pacs.kept.items()}
    assert len(pacs.stored) == 4
    assert {uid: result.to_json() for uid, result in pacs.kept.items()} == first


def test_two_films_of_one_examination_share_their_result_series(start: Any, pacs: Pacs) -> None:
    service = start(secondary_capture=True)
    films = [make_film(1), make_film(2, StudyInstanceUID=make_film(1).StudyInstanceUID)]
    assert send(service, *films) == [0, 0]
    wait_for(lambda: service.counts()["sent_total"] == 2)
    assert len(pacs.kept) == 4
    assert len({result.SeriesInstanceUID for result in pacs.kept.values()}) == 2


def test_every_agreed_class_and_syntax_is_negotiated(start: Any) -> None:
    service = start()
    for sop_class in scp.SOP_CLASSES:
        scu = AE("CR1")
        for syntax in scp.TRANSFER_SYNTAXES:
            scu.add_requested_context(sop_class, syntax)
        association = scu.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER")
        accepted = {context.transfer_syntax[0] for context in association.accepted_contexts}
        association.release()
        assert accepted == set(scp.TRANSFER_SYNTAXES)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_native_syntaxes_are_scored(start: Any, pacs: Pacs, syntax: str) -> None:
    service = start()
    film = make_film()
    if syntax == ExplicitVRBigEndian:
        film.PixelData = np.frombuffer(film.PixelData, "<u2").astype(">u2").tobytes()
    film.file_meta.TransferSyntaxUID = syntax
    assert send(service, film, syntax=syntax) == [0x0000]
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert len(pacs.kept) == 1


def test_echo_is_answered(start: Any) -> None:
    scu = AE("CR1")
    scu.add_requested_context(Verification)
    association = scu.associate("127.0.0.1", start().port, ae_title="XRAYTRANSFER")
    assert association.send_c_echo().Status == 0x0000
    association.release()


@pytest.mark.parametrize(("calling", "called"), [("STRANGER", "XRAYTRANSFER"), ("CR1", "OTHER")])
def test_unknown_titles_are_rejected(start: Any, calling: str, called: str, caplog: Any) -> None:
    service = start(callers=("CR1",))
    scu = AE(calling)
    scu.add_requested_context(Verification)
    association = scu.associate("127.0.0.1", service.port, ae_title=called)
    assert association.is_rejected
    assert send(service, make_film()) == [0x0000]
    (line,) = [record.getMessage() for record in caplog.records if "rejected" in record.getMessage()]
    assert ("calls 'OTHER', this server is 'XRAYTRANSFER'" if calling == "CR1" else "calls itself 'STRANGER'") in line


def test_other_sop_classes_are_not_negotiated(start: Any) -> None:
    scu = AE("CT1")
    scu.add_requested_context(CTImageStorage)
    association = scu.associate("127.0.0.1", start().port, ae_title="XRAYTRANSFER")
    assert association.is_aborted or not association.accepted_contexts


def counters(service: DicomService) -> dict[tuple[str, ...], float]:
    """Return the service's metrics by name and label values."""
    return {
        (sample.name.removeprefix("xraytransfer_dicom_"), *sample.labels.values()): sample.value
        for family in service.collect()
        for sample in family.samples
    }


def test_other_sop_classes_are_accepted_and_dropped(start: Any, pacs: Pacs, tmp_path: Path) -> None:
    service = start(other_objects="drop")
    scan = make_film(2, SOPClassUID=CTImageStorage)
    scanner = AE("MODALITY")
    scanner.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    scanner.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    association = scanner.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER")
    statuses = [association.send_c_store(object_).Status for object_ in (scan, make_film())]
    association.release()
    assert statuses == [0, 0]
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert counters(service)["dropped_total",] == 1
    assert (service.counts()["received_total"], len(pacs.kept)) == (1, 1)
    assert list((tmp_path / "spool" / "dead").iterdir()) == []


def test_associations_that_end_badly_are_counted_and_said(start: Any, caplog: Any) -> None:
    service = start(idle_timeout_s=0.5)
    caller = AE("MODALITY")
    caller.add_requested_context(Verification)
    caller.associate("127.0.0.1", service.port, ae_title="OTHER")
    wait_for(lambda: counters(service).get(("associations_failed_total", "rejected")) == 1)
    caller.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER").abort()
    wait_for(lambda: counters(service).get(("associations_failed_total", "aborted")) == 1)
    idle = caller.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER")
    wait_for(lambda: counters(service).get(("associations_failed_total", "idle")) == 1)
    idle.abort()
    messages = [record.getMessage() for record in caplog.records]
    assert "DICOM: association of 127.0.0.1 aborted: by its peer" in messages
    assert any("nothing arrived for 0.5 s (--dicom-idle-timeout)" in message for message in messages)


def test_silent_connections_keep_nobody_out(start: Any) -> None:
    service = start(max_associations=4)
    silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(60)]
    try:
        assert send(service, make_film()) == [0]
    finally:
        for caller in silent:
            caller.close()


def test_more_associations_than_allowed_are_rejected_until_one_ends(start: Any, caplog: Any) -> None:
    service = start(max_associations=2)
    caller = AE("CR1")
    caller.add_requested_context(Verification)
    first, second, third = (caller.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER") for _ in range(3))
    assert (first.is_established, second.is_established, third.is_rejected) == (True, True, True)
    assert "2 associations are open, no more are allowed" in caplog.text
    first.release()
    wait_for(lambda: caller.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER").is_established)
    second.release()


def test_state_and_limits(start: Any) -> None:
    name = "AWAY@127.0.0.1:1"
    service = start(capacity=1, destinations=(Destination.parse(name),))
    assert service.state().problem is None
    assert send(service, make_film()) == [0]
    wait_for(lambda: service.counts()["results_waiting"] == 1)
    wait_for(lambda: counters(service).get(("destination_failures_total", name), 0) >= 1)
    state = service.state()
    assert state.waiting.results[name].results == 1
    assert state.free_bytes > 0
    assert state.problem == "the spool holds 1 film, as many as it may"
    assert send(service, make_film(2)) == [0xA700]
    found = counters(service)
    assert found["refusals_total", "no-room"] == 1
    assert found["films_limit",] == 1
    assert found["destination_oldest_result_seconds", name, "yes"] > 0
    service.close()
    assert service.state().problem == "the DICOM side does not run"


def test_an_object_that_is_not_what_its_command_says_is_refused(start: Any) -> None:
    service = start()
    scu = AE("CT1")
    scu.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    association = scu.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER")

    def store(data: bytes, command_class: str = ComputedRadiographyImageStorage) -> int:
        from pynetdicom.dimse_primitives import C_STORE

        request = C_STORE()
        request.MessageID, request.Priority = 1, 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = command_class, "1.2.3"
        request.DataSet = BytesIO(data)
        association._reactor_checkpoint.clear()
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        return answer.Status

    def encoded(film: Dataset) -> bytes:
        film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
        buffer = BytesIO()
        film.save_as(buffer, enforce_file_format=True)
        return buffer.getvalue()[buffer.getvalue().index(b"\x08\x00\x16\x00") :]

    assert store(encoded(make_film(SOPClassUID=CTImageStorage, SOPInstanceUID="1.2.3"))) == 0xA900
    assert store(encoded(make_film(SOPInstanceUID="1.2.4"))) == 0xA900
    assert store(encoded(make_film(SOPInstanceUID="1.2.3")), command_class=CTImageStorage) == 0x0122
    assert store(b"\x08\x00") == 0xC000
    assert store(b"no data set at all, only words") == 0xC000
    assert store(struct.pack("<HH2sH", 8, 1, b"UL", 0) * 500_000) == 0xC000  # elements without end before the UIDs
    assert store(encoded(make_film(SOPInstanceUID="1.2.3"))) == 0x0000
    association.release()


def test_an_object_over_the_limit_ends_the_association(start: Any) -> None:
    service = start(max_object_bytes=200_000)
    large = make_film(Rows=1000, Columns=1000, PixelData=bytes(2_000_000))
    assert send(service, large) == [None]
    films = [make_film(1)] * 20  # 20 x 15 kB: the limit is for one object
    assert send(service, *films) == [0x0000] * 20


@pytest.mark.parametrize("length", [0xFFFFFFFF, 2**21])
def test_an_absurd_pdu_length_ends_the_connection(start: Any, length: int) -> None:
    service = start()
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as peer:
        peer.sendall(struct.pack(">BBL", 1, 0, length))
        assert peer.recv(100) == b""
    assert send(service, make_film()) == [0x0000]


def test_a_pdu_that_stops_half_way_ends_the_connection(start: Any) -> None:
    service = start(idle_timeout_s=0.3)
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as peer:
        peer.sendall(struct.pack(">BBL", 1, 0, 500) + b"half")
        assert peer.recv(100) == b""


def test_a_pdu_that_trickles_ends_the_connection(start: Any) -> None:
    service = start(idle_timeout_s=0.5)
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as peer:
        peer.sendall(struct.pack(">BBL", 1, 0, 500))
        for _ in range(200):  # a byte each 0.1 s is never idle
            try:
                peer.sendall(b"x")
            except OSError:
                break
            time.sleep(0.1)
        else:
            pytest.fail("the connection stayed open")


def commands(number: int, *, more: bytes = b"") -> bytes:
    """Return P-DATA-TF PDUs, each with a C-STORE request that announces a data set, and with more elements."""
    command = Dataset()
    command.AffectedSOPClassUID = ComputedRadiographyImageStorage
    command.CommandField, command.MessageID, command.Priority, command.CommandDataSetType = 1, 1, 0, 0
    command.AffectedSOPInstanceUID = "1.2.3"
    elements = encode(command, True, True) + more
    value = b"\x01\x03" + struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements
    item = struct.pack(">L", len(value)) + value
    return (struct.pack(">BBL", 4, 0, len(item)) + item) * number


@pytest.mark.parametrize("flood", [commands(20_000), commands(1, more=struct.pack("<HHL", 0, 0x5010, 0) * 10_000)])
def test_commands_that_are_many_or_long_end_the_association(start: Any, flood: bytes) -> None:
    service = start()
    scu = AE("CR1")
    scu.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    association = scu.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER")
    with contextlib.suppress(OSError):  # it may end before all are sent
        association.dul.socket.socket.sendall(flood)
    wait_for(lambda: counters(service).get(("associations_failed_total", "limit")) == 1)
    assert send(service, make_film()) == [0x0000]


def test_a_sender_that_does_not_wait_for_answers_is_ended(start: Any) -> None:
    service = start()
    scu = AE("CR1")
    scu.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    association = scu.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER")
    film = b"\x01\x02" + b"no data set at all, only words"
    item = struct.pack(">L", len(film)) + film
    message = commands(1) + struct.pack(">BBL", 4, 0, len(item)) + item
    with contextlib.suppress(OSError):
        association.dul.socket.socket.sendall(message * 2000)
    wait_for(lambda: counters(service).get(("associations_failed_total", "limit")) == 1)
    assert send(service, make_film()) == [0x0000]


def test_a_transfer_that_is_aborted_leaves_nothing(start: Any, tmp_path: Path) -> None:
    service = start()
    scu = AE("CR1")
    scu.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    association = scu.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER")
    sent: list[bytes] = []

    def cut(event: Any) -> None:
        sent.append(event.data)
        if len(sent) == 3:  # command, then the second piece of the data set
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)

    association.bind(evt.EVT_DATA_SENT, cut)
    answer = association.send_c_store(make_film(Rows=300, Columns=300, PixelData=bytes(180_000)))
    assert "Status" not in answer
    assert len(sent) >= 3
    assert send(service, make_film()) == [0x0000]
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert service.counts()["received_total"] == 1


def associate(service: DicomService) -> Any:
    scu = AE("CR1")
    scu.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
    association = scu.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER")
    assert association.is_established
    return association


def test_a_server_that_stops_waits_for_no_silent_peer(start: Any) -> None:
    service = start()  # an association is idle after 30 s
    idle, half, stalled = associate(service), associate(service), associate(service)
    half.dul.socket.socket.sendall(commands(1)[:50])  # an announced PDU that does not come
    stalled.dul.socket.socket.sendall(commands(1))  # a command, and no data set
    with socket.create_connection(("127.0.0.1", service.port)) as silent:
        silent.sendall(struct.pack(">BBL", 1, 0, 500))
        time.sleep(0.3)
        began = time.monotonic()
        service.close()
        assert time.monotonic() - began < 5
        assert silent.recv(100) == b""
    wait_for(lambda: not any(association.is_established for association in (idle, half, stalled)))


def test_an_object_on_its_way_arrives_at_a_server_that_stops(start: Any, tmp_path: Path) -> None:
    service = start()
    association = associate(service)
    closing = threading.Thread(target=service.close)
    film, pieces = make_film(Rows=300, Columns=300, PixelData=bytes(180_000)), []

    def stop(event: Any) -> None:
        pieces.append(event.data)
        if len(pieces) == 2:
            closing.start()
        if len(pieces) >= 2:
            time.sleep(0.4)

    association.bind(evt.EVT_DATA_SENT, stop)
    assert association.send_c_store(film).Status == 0
    closing.join(10)
    assert not closing.is_alive()
    wait_for(lambda: not association.is_established)
    assert start().counts()["received_total"] == 1


def test_an_answer_that_is_slow_to_leave_is_waited_for_by_a_server_that_stops(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = start()
    association, closing, drained = associate(service), threading.Thread(target=service.close), threading.Event()
    send_bytes, find = AssociationSocket.send, drain._connections

    def slow(transport: AssociationSocket, data: bytes) -> None:
        ours = transport.assoc.is_acceptor and transport.assoc.ae.ae_title == "XRAYTRANSFER"
        if ours and data[0] == 4:  # P-DATA-TF: the answer
            closing.start()
            drained.wait(10)
            time.sleep(0.3)
        send_bytes(transport, data)

    def connections(server: Any) -> Any:
        drained.set()
        return find(server)

    with monkeypatch.context() as network:
        network.setattr(AssociationSocket, "send", slow)
        network.setattr(drain, "_connections", connections)
        assert association.send_c_store(make_film()).get("Status") == 0
        closing.join(10)
    assert not closing.is_alive()


def test_a_database_that_cannot_be_read_is_told_as_no_room(start: Any) -> None:
    service = start()
    association = associate(service)
    service._spool.close()  # as at the end of a server whose disk is too slow
    assert association.send_c_store(make_film()).Status == 0xA700
    association.release()


def test_no_room_is_said_and_nothing_is_lost(start: Any, pacs: Pacs) -> None:
    pacs.stop()
    service = start(capacity=2)
    assert send(service, make_film(1), make_film(2), make_film(3)) == [0x0000, 0x0000, 0xA700]
    pacs.start()
    wait_for(lambda: service.counts()["sent_total"] == 2)
    assert send(service, make_film(3)) == [0x0000]
    wait_for(lambda: len(pacs.kept) == 3)


def test_no_disk_space_is_said(start: Any) -> None:
    service = start(min_free_bytes=2**62)
    assert send(service, make_film()) == [0xA700]


def test_what_is_refused_is_reported_as_not_evaluated_and_named_nowhere(
    start: Any, pacs: Pacs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service = start()
    lateral = make_film(1, ViewPosition="LL")
    blank = make_film(2, PixelData=bytes(96 * 80 * 2))
    nameless = make_film(3)
    del nameless.StudyInstanceUID
    assert send(service, lateral, blank, nameless) == [0, 0, 0]
    wait_for(lambda: service.counts()["refused_total"] + service.counts()["dead_total"] == 3)
    assert service.counts()["refused_total"] == 2
    wait_for(lambda: len(pacs.kept) == 2)
    reports = {report.StudyInstanceUID: report for report in pacs.kept.values()}
    for film, reason in ((lateral, "not-frontal"), (blank, "constant")):
        report = reports[film.StudyInstanceUID]
        assert report.ContentSequence[-1].TextValue.startswith(f"Not evaluated: {REASONS[reason]}.")
        assert (report.PatientName, report.SeriesDescription) == (NAME, SERIES)
    assert send(service, lateral) == [0]  # once more: the same object
    wait_for(lambda: service.counts()["refused_total"] == 3 and service.counts()["results_waiting"] == 0)
    assert len(pacs.kept) == 2
    for secret in ("Muster", "MRN-0815", "ACC-4711", "19700101", "1.2.826.0.1.3680043.10.1"):
        ours = [record.getMessage() for record in caplog.records if record.name.startswith("xraytransfer")]
        assert not any(secret in line for line in ours)


def test_what_nobody_expects_an_answer_to_gets_none(start: Any, pacs: Pacs) -> None:
    service = start(secondary_capture=True)
    assert send(service, make_film()) == [0]
    wait_for(lambda: len(pacs.kept) == 2)
    (capture,) = [result for result in pacs.kept.values() if result.Modality == "OT"]
    assert send(service, capture, sop_class=SecondaryCaptureImageStorage) == [0]
    assert send(service, make_film(2, BodyPartExamined="HAND")) == [0]
    wait_for(lambda: service.counts()["refused_total"] == 2)
    assert service.counts()["results_waiting"] == 0
    assert len(pacs.kept) == 2


@pytest.mark.parametrize("changes", [{"refusal_report": False}, {"structured_report": False}])
def test_refusals_are_not_reported_where_that_is_asked_for(start: Any, pacs: Pacs, changes: dict[str, bool]) -> None:
    service = start(**{"secondary_capture": True, **changes})
    assert send(service, make_film(ViewPosition="LL")) == [0]
    wait_for(lambda: service.counts()["refused_total"] == 1)
    assert service.counts()["results_waiting"] == 0
    assert pacs.stored == []


def test_the_spool_is_closed_to_others_and_names_nobody(start: Any, pacs: Pacs, tmp_path: Path) -> None:
    pacs.stop()
    service = start()
    assert send(service, make_film()) == [0x0000]
    wait_for(lambda: service.counts()["results_waiting"] == 1)
    pacs.start()
    spool = tmp_path / "spool"
    for path in (spool, *spool.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
        assert not any(part in path.name for part in ("Muster", "MRN", "3680043"))
    for path in spool.glob("spool.sqlite3*"):
        for secret in (b"Muster", b"MRN-0815", b"ACC-4711", b"3680043"):
            assert secret not in path.read_bytes()


def test_a_second_server_cannot_use_the_spool(start: Any) -> None:
    start()
    with pytest.raises(ServeError, match="another process uses it"):
        start()


def test_a_folder_of_other_things_is_no_spool(start: Any, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("dear")
    with pytest.raises(ServeError, match="holds other files"):
        start(spool=tmp_path / "letters")


def test_a_taken_port_is_said_and_frees_the_spool(start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ServeError, match="cannot listen"):
        start(port=other.getsockname()[1])
    start()


@pytest.mark.parametrize("status", [0xB000, 0x0111])
def test_warning_and_duplicate_are_taken(start: Any, pacs: Pacs, status: int) -> None:
    pacs.statuses = [status]
    service = start()
    send(service, make_film())
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert service.counts()["dead_total"] == 0


def test_what_will_never_be_taken_is_buried_with_a_reason(start: Any, pacs: Pacs, tmp_path: Path) -> None:
    pacs.statuses = [0xA900]
    service = start()
    send(service, make_film())
    wait_for(lambda: service.counts()["dead_total"] == 1)
    assert service.counts()["sent_total"] == 0
    (note,) = (tmp_path / "spool" / "dead").glob("*.json")
    assert "A900" in note.read_text()
    assert dcmread(note.with_suffix(".dcm")).StudyInstanceUID == make_film().StudyInstanceUID
    assert pacs.kept == {}


def test_a_refusal_that_passes_is_waited_for_and_one_that_does_not_is_buried(start: Any, pacs: Pacs) -> None:
    pacs.statuses = [0xA700, 0xC000]
    service = start(max_attempts=3)
    send(service, make_film(1))
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert (len(pacs.kept), service.counts()["dead_total"]) == (1, 0)
    pacs.statuses = [0xA700] * 3
    send(service, make_film(2))
    wait_for(lambda: service.counts()["dead_total"] == 1)


def test_a_pacs_that_is_away_or_rejects_or_hangs_up_is_waited_for(
    start: Any, pacs: Pacs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pacs.stop()
    service = start()
    send(service, make_film(1))
    wait_for(lambda: service.counts()["results_waiting"] == 1)
    pacs.entity.ae_title = "RENAMED"  # now it rejects who calls it PACS
    pacs.start()
    rejected = threading.Event()
    pacs.server.bind(evt.EVT_REJECTED, lambda _: rejected.set())
    assert rejected.wait(20)
    pacs.stop()

    def hang_up(event: Any) -> int:
        event.assoc.abort()
        return 0xC000

    pacs.entity.ae_title = "PACS"
    pacs.statuses = [hang_up]
    pacs.start()
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert len(pacs.kept) == 1
    assert service.counts()["dead_total"] == 0
    wait_for(lambda: f"PACS@127.0.0.1:{pacs.port}: answers again" in caplog.text)


def test_a_pacs_that_never_answers_is_given_up_for_now(start: Any, pacs: Pacs) -> None:
    go_on = threading.Event()

    def sleep(_: Any) -> int:
        go_on.wait(20)
        return 0xC000

    pacs.statuses = [sleep]
    service = start(answer_timeout_s=0.3)
    send(service, make_film())
    wait_for(lambda: service.counts()["sent_total"] == 1)
    go_on.set()
    assert len(pacs.kept) == 1


def test_what_a_pacs_drops_after_taking_it_is_sent_again(start: Any, pacs: Pacs) -> None:
    service = start(confirm_after_s=0.1)
    dropped: list[str] = []

    def drop(event: Any) -> int:
        dropped.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    pacs.statuses = [lambda event: drop(event) or 0xB000]
    send(service, make_film())
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert len(dropped) == 1
    assert len(pacs.kept) == 1


def test_a_pacs_that_cannot_be_asked_is_believed(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    deaf = Pacs(find=False)
    try:
        service = start(confirm_after_s=0.05, destinations=(Destination.parse(f"PACS@127.0.0.1:{deaf.port}"),))
        send(service, make_film(1), make_film(2))
        wait_for(lambda: service.counts()["sent_total"] == 2)
        assert len(deaf.kept) == 2
        assert caplog.text.count("cannot be asked") == 1  # a log of thousands of such lines hides all others
    finally:
        deaf.stop()


def test_a_search_that_fails_for_a_moment_is_repeated(start: Any, pacs: Pacs, caplog: pytest.LogCaptureFixture) -> None:
    pacs.find_statuses = [0xA700, 0xC001]
    pacs.statuses = [0xB000]  # taken, and not kept
    service = start(confirm_after_s=0.05)
    send(service, make_film())
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert pacs.find_statuses == []
    assert len(pacs.kept) == 1
    assert "cannot be asked" not in caplog.text


def test_searches_that_always_fail_hold_up_nothing(start: Any, pacs: Pacs, caplog: pytest.LogCaptureFixture) -> None:
    pacs.find_statuses = [0xC001] * 100
    service = start(confirm_after_s=0.05, max_attempts=3)
    send(service, make_film(1), make_film(2))
    wait_for(lambda: service.counts()["sent_total"] == 2)
    assert (
        caplog.text.count("cannot be asked for the results that it took (a C-FIND failed: status C001, 3 times)") == 1
    )
    assert len(pacs.find_statuses) == 94


def test_connections_that_ask_for_nothing_are_limited(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("xraytransfer.serve.dicom.association_server.WAITING", 3)
    service = start(max_associations=1)
    with contextlib.ExitStack() as connections:
        for _ in range(8):
            connections.enter_context(socket.create_connection(("127.0.0.1", service.port)))
        wait_for(lambda: counters(service).get(("associations_failed_total", "rejected")) == 4)
        assert "connection of 127.0.0.1 refused: 4 are open, no more are allowed" in caplog.text
    caller = AE("CR1")
    caller.add_requested_context(Verification)

    def is_let_in() -> bool:
        association = caller.associate("127.0.0.1", service.port, ae_title="XRAYTRANSFER")
        established = bool(association.is_established)
        association.abort()
        return established

    wait_for(is_let_in)  # once the others are closed


def test_a_connection_that_fails_is_logged_without_its_message(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    handle = RequestHandler.handle

    def failing(handler: RequestHandler) -> None:
        if isinstance(handler.server, AssociationServer):  # else it is the archive's, which the sender greets
            raise RuntimeError(NAME)
        handle(handler)

    monkeypatch.setattr(RequestHandler, "handle", failing)
    service = start()
    socket.create_connection(("127.0.0.1", service.port)).close()
    wait_for(lambda: "DICOM: connection of 127.0.0.1 failed: RuntimeError at " in caplog.text)
    assert NAME not in caplog.text
    printed = capfd.readouterr().err
    assert NAME not in printed
    assert "Exception occurred" not in printed  # as socketserver says it


def test_no_error_of_a_library_ends_the_sender(
    start: Any, pacs: Pacs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [RuntimeError("can't start new thread"), UnicodeError(NAME), MemoryError()]
    associate = AE.associate

    def failing(entity: AE, *arguments: Any, **options: Any) -> Any:
        if entity.ae_title == "XRAYTRANSFER" and errors:
            raise errors.pop()
        return associate(entity, *arguments, **options)

    monkeypatch.setattr(AE, "associate", failing)
    service = start()
    send(service, make_film())
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert errors == []
    assert "RuntimeError at " in caplog.text
    assert NAME not in caplog.text


def test_no_error_of_the_system_ends_the_worker(
    start: Any, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [RuntimeError("can't start new thread"), MemoryError()]
    submit = engine._readers.submit

    def failing(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return submit(*arguments)

    monkeypatch.setattr(engine._readers, "submit", failing)
    monkeypatch.setattr("xraytransfer.serve.dicom.worker._DISK_S", 0.05)
    service = start()
    send(service, make_film())
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert "unexpected RuntimeError at " in caplog.text
    assert engine.depth == 0


def test_counts_stand_in_the_metrics(start: Any, engine: Engine, tmp_path: Path) -> None:
    metrics = Metrics()
    settings = DicomSettings(
        spool=tmp_path / "other", destinations=(Destination.parse("A@127.0.0.1:1"),), port=0, min_free_bytes=0
    )
    service = start_dicom(settings, engine, metrics)
    assert b'xraytransfer_dicom_films_total{state="dead"} 0.0' in metrics.render()
    assert b"xraytransfer_dicom_films_waiting 0.0" in metrics.render()
    service.close()
    assert b"xraytransfer_dicom" not in metrics.render()


def test_films_that_wait_are_scored_after_a_restart(start: Any, pacs: Pacs) -> None:
    pacs.stop()
    service = start()
    assert send(service, *(make_film(number) for number in range(2))) == [0] * 2
    service.close()
    pacs.start()
    again = start()
    wait_for(lambda: again.counts()["sent_total"] == 2)
    assert len(pacs.kept) == len(pacs.stored) == 2


def test_results_for_a_destination_that_was_renamed_are_named(start: Any, pacs: Pacs, caplog: Any) -> None:
    pacs.stop()
    service = start()
    assert send(service, make_film()) == [0]
    wait_for(lambda: service.counts()["results_waiting"] == 1)
    service.close()
    pacs.start()
    caplog.clear()
    other = start(destinations=(Destination.parse("OTHER@127.0.0.1:1"),))
    old = f"PACS@127.0.0.1:{pacs.port}"
    assert any(f"for {old}, which no --send-to names" in record.getMessage() for record in caplog.records)
    samples = {
        (sample.labels["destination"], sample.labels["configured"]): sample.value
        for family in other.collect()
        for sample in family.samples
        if sample.name == "xraytransfer_dicom_destination_results_waiting"
    }
    assert samples == {(old, "no"): 1, ("OTHER@127.0.0.1:1", "yes"): 0}
    other.close()
    again = start()
    wait_for(lambda: again.counts()["sent_total"] == 1)


def test_results_for_a_destination_that_was_renamed_are_redirected_and_delivered(
    start: Any, pacs: Pacs, tmp_path: Path
) -> None:
    old = start(destinations=(Destination.parse("OLD@127.0.0.1:1"),))
    assert send(old, make_film()) == [0]
    wait_for(lambda: old.counts()["results_waiting"] == 1)
    old.close()
    new = f"PACS@127.0.0.1:{pacs.port}"
    arguments = ["spool", "redirect", "OLD@127.0.0.1:1", new, "--dicom-spool", str(tmp_path / "spool")]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    service = start()
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert len(pacs.kept) == 1


_SCHEMA_OF_0_1 = """
CREATE TABLE film (
    id INTEGER PRIMARY KEY, file TEXT NOT NULL, digest TEXT NOT NULL, state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX waiting ON film (digest) WHERE state = 'received';
CREATE TABLE delivery (
    id INTEGER PRIMARY KEY, film INTEGER NOT NULL REFERENCES film (id), file TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL, sop_instance_uid TEXT NOT NULL, destination TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL DEFAULT 0);
CREATE INDEX undelivered ON delivery (destination, due);
CREATE TABLE first_scored (uid TEXT PRIMARY KEY, at TEXT NOT NULL);
CREATE TABLE total (name TEXT PRIMARY KEY, films INTEGER NOT NULL);
"""


def test_a_spool_of_version_0_1_is_delivered(start: Any, pacs: Pacs, tmp_path: Path) -> None:
    result, waiting = make_film(1, SOPClassUID=SecondaryCaptureImageStorage), make_film(2)
    folder = tmp_path / "spool"
    for part in ("", "files", "dead"):
        (folder / part).mkdir(mode=0o700)
    for name, dataset in (("a" * 32, result), ("b" * 32, waiting)):
        dataset.save_as(folder / "files" / f"{name}.dcm", enforce_file_format=True)
    database = sqlite3.connect(folder / "spool.sqlite3")
    database.executescript(f"PRAGMA journal_mode = WAL; {_SCHEMA_OF_0_1}")
    database.execute("INSERT INTO film VALUES (1, ?, 'digest', 'scored', 1, 0)", [f"{'c' * 32}.dcm"])
    database.execute("INSERT INTO film VALUES (2, ?, 'other', 'received', 0, 0)", [f"{'b' * 32}.dcm"])
    uids = [result.SOPClassUID, result.SOPInstanceUID]
    destination = f"PACS@127.0.0.1:{pacs.port}"
    database.execute(
        "INSERT INTO delivery VALUES (7, 1, ?, ?, ?, ?, 'waiting', 2, ?)",
        [f"{'a' * 32}.dcm", *uids, destination, time.time() - 5],
    )
    database.execute("INSERT INTO first_scored VALUES (?, ?)", [waiting.SOPInstanceUID, "2026-11-01T10:00:00+00:00"])
    database.execute("INSERT INTO total VALUES ('received', 2)")
    database.commit()
    database.close()
    service = start()
    wait_for(lambda: service.counts()["sent_total"] == 2)
    assert result.SOPInstanceUID in pacs.kept
    assert sorted(kept.SOPClassUID.name for kept in pacs.kept.values()) == [
        "Comprehensive 3D SR Storage",
        "Secondary Capture Image Storage",
    ]
    assert service.counts()["received_total"] == 2
    wait_for(lambda: not any((folder / "files").iterdir()))  # removed after they are counted


def test_what_stands_at_a_destination_is_said(start: Any, pacs: Pacs, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    deaf = AE("DEAF")
    deaf.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    peer = deaf.start_server(("127.0.0.1", 0), block=False)
    names = (f"PACS@127.0.0.1:{pacs.port}", f"DEAF@127.0.0.1:{peer.server_address[1]}", "AWAY@127.0.0.1:1")
    start(destinations=tuple(map(Destination.parse, names)))
    said = ("does not take C-ECHO; accepts our results", "accepts none of our SOP classes", "does not answer")
    for name, words in zip(names, said, strict=True):
        wait_for(lambda line=(name, words): any(all(w in r.getMessage() for w in line) for r in caplog.records))
    peer.shutdown()


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"destinations": ()}, "nowhere to go"),
        ({"host": "0.0.0.0"}, "no caller is named"),
        ({"ae_title": "seventeen letters"}, "no AE title"),
        ({"callers": ("a\\b",)}, "no AE title"),
        ({"port": 70000}, "expected 0 to 65535"),
        ({"tls_key": Path("key.pem")}, "both a certificate and a key"),
        ({"structured_report": False, "secondary_capture": False}, "nothing to send"),
        ({"capacity": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_be_meant(changes: dict[str, Any], match: str) -> None:
    options: dict[str, Any] = {"spool": Path("spool"), "destinations": (Destination.parse("A@b:1"),)}
    with pytest.raises(ServeError, match=match):
        DicomSettings(**{**options, **changes})


@pytest.mark.parametrize("text", ["PACS", "PACS@host", "PACS@host:0", "PACS@host:99999", "@host:104", "https://"])
def test_destinations_that_are_none(text: str) -> None:
    with pytest.raises(ServeError, match=r"expected AETITLE@host:port|without a host|no AE title"):
        Destination.parse(text)


@pytest.mark.parametrize("host", ["pacs..example.org", "x" * 64])
@pytest.mark.parametrize("form", ["PACS@{}:104", "https://{}/dicom-web"])
def test_hosts_that_cannot_be_looked_up(form: str, host: str) -> None:
    with pytest.raises(ServeError, match="is no host name"):
        Destination.parse(form.format(host))


@pytest.mark.parametrize("url", ["https://[::1/dicom-web", "https://pacs:x/dicom-web", "https://pacs:99999/dicom-web"])
def test_urls_that_cannot_be_read(url: str) -> None:
    with pytest.raises(ServeError, match="a DICOMweb URL cannot be read"):
        Destination.parse(url)


@pytest.mark.parametrize("host", ["pacs", "[pacs", "pacs:x"])
def test_a_password_in_a_url_is_refused_and_not_repeated(host: str) -> None:
    with pytest.raises(ServeError, match=r"must not hold a password|cannot be read") as raised:
        Destination.parse(f"https://user:secret@{host}/dicom-web")
    assert "secret" not in str(raised.value)


def test_a_full_disk_loses_nothing_and_ends_no_thread(
    start: Any, pacs: Pacs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker, "_DISK_S", 0.02)
    monkeypatch.setattr(worker, "_IDLE_S", 0.02)
    service = start()
    spool = service._spool
    full = sqlite3.OperationalError("database or disk is full")
    failures: Counter[str] = Counter()

    def failing(name: str, times: int, error: Exception, after: int = 0) -> None:
        owner = spool._files if name == "write" else spool
        original = getattr(owner, name)
        calls = itertools.count()

        def call(*arguments: Any) -> Any:
            if after <= next(calls) < after + times:
                failures[name] += 1
                raise error
            return original(*arguments)

        monkeypatch.setattr(owner, name, call)

    failing("claim", 2, full)
    # The film itself is written, its results are not, more often than a film may fail.
    failing("write", 2 * MAX_ATTEMPTS, OSError(errno.ENOSPC, "No space left on device"), after=1)
    failing("due", 2, full)
    failing("sent", 1, full)
    assert send(service, make_film()) == [0x0000]
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert failures == {"claim": 2, "write": 2 * MAX_ATTEMPTS, "due": 2, "sent": 1}
    assert len(pacs.kept) == 1
    assert service.counts()["dead_total"] == 0
    wait_for(lambda: not list((tmp_path / "spool" / "files").iterdir()))


def test_a_disk_that_takes_no_film_is_told_to_its_sender(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service = start()

    def write(*_: bytes | memoryview) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(service._spool._files, "write", write)
        assert send(service, make_film()) == [0xA700]
    assert send(service, make_film()) == [0x0000]


def test_ipv6(engine: Engine, tmp_path: Path) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 on this machine")
    archive = AE("PACS")
    archive.add_supported_context(Comprehensive3DSRStorage)
    kept: list[str] = []

    def keep(event: Any) -> int:
        kept.append(event.dataset.Modality)
        return 0

    peer = archive.start_server(("::1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    settings = DicomSettings(
        spool=tmp_path / "spool",
        destinations=(Destination.parse(f"PACS@[::1]:{peer.server_address[1]}"),),
        host="::1",
        port=0,
        min_free_bytes=0,
        secondary_capture=False,
    )
    assert settings.on_loopback
    service = start_dicom(settings, engine)
    try:
        scu = AE("CR1")
        scu.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
        association = scu.associate("::1", service.port, ae_title="XRAYTRANSFER")
        assert association.send_c_store(make_film()).Status == 0
        association.release()
        wait_for(lambda: service.counts()["sent_total"] == 1)
    finally:
        service.close()
        peer.shutdown()
    assert kept == ["SR"]


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_an_acknowledged_film_that_cannot_be_read_for_a_moment_is_kept(
    start: Any, pacs: Pacs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = Spool(tmp_path / "spool", min_free_bytes=0)
    data = BytesIO()
    make_film().save_as(data, enforce_file_format=True)
    waiting.receive(data.getvalue())
    waiting.close()
    (file,) = (tmp_path / "spool" / "files").iterdir()
    film = file.rename(tmp_path / "film")
    file.mkdir()  # nobody can read it, as where the disk fails or no file can be opened
    service = start(retry_base_s=0.1)
    wait_for(lambda: "scoring a film failed (unreadable); again" in caplog.text)
    assert service.counts()["films_waiting"] == 1
    file.rmdir()
    film.rename(file)
    wait_for(lambda: service.counts()["sent_total"] == 1)
    assert len(pacs.kept) == 1


def test_a_film_that_disappeared_from_the_spool_is_given_up_by_name(start: Any, tmp_path: Path) -> None:
    waiting = Spool(tmp_path / "spool", min_free_bytes=0)
    waiting.receive(b"film")
    waiting.close()
    for file in (tmp_path / "spool" / "files").iterdir():
        file.unlink()
    service = start(retry_base_s=0.01)
    wait_for(lambda: service.counts()["dead_total"] == 1)
    assert service.counts()["refused_total"] == 0
    (note,) = (tmp_path / "spool" / "dead").glob("*.json")
    assert json.loads(note.read_text())["reason"] == f"scoring failed {MAX_ATTEMPTS} times (not-found)"
