"""The storage SCP: receives films by C-STORE, acknowledges them as soon as they are on disk, and answers C-ECHO.

Conventions
-----------
Objects are not decoded here: their bytes go to the spool as they arrive. `STATUSES` lists what can be refused at once
(PS3.4 table B.2-1). Whether an object is a chest radiograph becomes known later, when it is scored.
"""

from __future__ import annotations

import sys
import threading
import time
import zlib
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from xraytransfer.errors import ServeError
from xraytransfer.reading.syntaxes import SYNTAXES
from xraytransfer.serve.dicom.association_server import AssociationServer
from xraytransfer.serve.dicom.limited_receive import LimitedReceive, limits_of
from xraytransfer.serve.dicom.tls import caller_context
from xraytransfer.serve.dicom_results.equipment import implementation_version
from xraytransfer.serve.dicom_results.identity import UNREADABLE
from xraytransfer.serve.dicom_results.uids import IMPLEMENTATION_CLASS_UID
from xraytransfer.serve.log import film_log, log
from xraytransfer.serve.spool.spool import SpoolFullError

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.transport import ThreadedAssociationServer

    from xraytransfer.serve.dicom.drain import Drain
    from xraytransfer.serve.dicom.events import DicomEvents
    from xraytransfer.serve.dicom_settings import DicomSettings
    from xraytransfer.serve.spool.spool import Spool

__all__ = ["SOP_CLASSES", "STATUSES", "TRANSFER_SYNTAXES", "application_entity", "start_scp"]


SOP_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,  # how many archives and all public collections hold radiographs
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,  # with one frame
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)
"""Storage SOP classes accepted."""

TRANSFER_SYNTAXES = tuple(SYNTAXES)
"""Transfer syntaxes accepted for each of them: all that `xraytransfer.read_radiograph` decodes."""

STATUSES = {
    0x0000: "stored in the queue; dropped, where `--dicom-other drop` says so",
    0x0122: "SOP class not agreed on in the association",
    0xA700: "out of resources: queue or disk full",
    0xA900: "the data set's SOP class or instance differs from the command's",
    0xC000: "the data set cannot be read",
}
"""Every status of a C-STORE response, and its meaning."""

_LIMIT_EXCEEDED = (0x02, 0x03, 0x02)  # transient, by the provider, local limit exceeded: PS3.8 section 9.3.4
_REQUEST_WAIT_S = 10.0  # a caller asks for its association as soon as it is connected
_LAST_TAG = 0x00080018  # SOP Instance UID: the last element that the check reads
_HEAD = 2**16  # bytes of an object that are read for it


def application_entity(settings: DicomSettings) -> AE:
    """Return the application entity with its names and time limits, without presentation contexts."""
    entity = AE(ae_title=settings.ae_title)
    entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    entity.implementation_version_name = implementation_version()
    entity.maximum_pdu_size = 65536
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = settings.answer_timeout_s
    entity.network_timeout = settings.idle_timeout_s
    return entity


def start_scp(settings: DicomSettings, spool: Spool, events: DicomEvents, drain: Drain) -> ThreadedAssociationServer:
    """Listen for films; return the running server (``.server_address``), which `drain` ends.

    Raises
    ------
    ServeError
        The address cannot be listened on, or the certificates cannot be used.
    """
    entity = application_entity(settings)
    entity.maximum_associations = sys.maxsize  # `_Room` counts: pynetdicom counts connections that ask for nothing, too
    entity.acse_timeout = min(settings.answer_timeout_s, _REQUEST_WAIT_S)
    entity.require_called_aet = True
    entity.require_calling_aet = list(settings.callers)
    entity.add_supported_context(Verification, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
    for sop_class in SOP_CLASSES:
        entity.add_supported_context(sop_class, list(TRANSFER_SYNTAXES))
    if settings.other_objects == "drop":
        for other in _other_classes():
            entity.add_supported_context(other, list(ALL_TRANSFER_SYNTAXES))
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, _limit, [settings, events]),
        (evt.EVT_ABORTED, _aborted, [settings, events, drain]),
        (evt.EVT_CONN_CLOSE, _closed),
        (evt.EVT_DIMSE_RECV, _message_ended),
        (evt.EVT_PDU_SENT, _answered),  # EVT_DIMSE_SENT comes before anything is sent
        (evt.EVT_REQUESTED, _Room(settings, events).take),
        (evt.EVT_REJECTED, _rejected, [settings, events]),
        (evt.EVT_C_STORE, _store, [spool, events]),
    ]
    try:
        server = entity.make_server(
            (settings.host, settings.port),
            ssl_context=caller_context(settings),
            evt_handlers=handlers,
            server_class=AssociationServer,
            settings=settings,
            events=events,
        )
    except OSError as error:
        raise ServeError(
            f"DICOM cannot listen on {settings.host} port {settings.port}: {error.strerror or error}"
        ) from error
    threading.Thread(target=server.serve_forever, name="dicom server", daemon=True).start()
    return server


def _other_classes() -> list[str]:
    """Return the storage SOP classes that hold no films, as far as pynetdicom knows them."""
    storage = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    return [sop_class for sop_class in storage if sop_class not in SOP_CLASSES]


class _Room:
    """Room for associations; connections on which none was asked for take none."""

    def __init__(self, settings: DicomSettings, events: DicomEvents) -> None:
        self._settings, self._events = settings, events
        self._lock = threading.Lock()
        self._open: list[Association] = []

    def take(self, event: Any) -> None:
        """Give room to an association that is asked for, or reject it."""
        with self._lock:
            self._open = [association for association in self._open if association.is_alive()]
            full = len(self._open) >= self._settings.max_associations
            if not full:
                self._open.append(event.assoc)
        if full:
            event.assoc.acse.send_reject(*_LIMIT_EXCEEDED)
            _rejected(event, self._settings, self._events)
            event.assoc.kill()


def _limit(event: Any, settings: DicomSettings, events: DicomEvents) -> None:
    """Put limits on what a new connection reads."""
    transport = event.assoc.dul.socket
    transport.recv = LimitedReceive(transport, settings, events, event.address[0])


def _aborted(event: Any, settings: DicomSettings, events: DicomEvents, drain: Drain) -> None:
    """Count an association that was aborted, and say so; nothing else logs it."""
    if drain.began:
        log.info("DICOM: association of %s ended: the server stops", event.assoc.requestor.address)
        return
    receive = limits_of(event.assoc)
    idle = receive is not None and time.monotonic() - receive.last >= settings.idle_timeout_s
    events.associations.labels("idle" if idle else "aborted").inc()
    why = f"nothing arrived for {settings.idle_timeout_s:g} s (--dicom-idle-timeout)" if idle else "by its peer"
    log.warning("DICOM: association of %s aborted: %s", event.assoc.requestor.address, why)


def _closed(event: Any) -> None:
    """Close a connection that its peer has closed; pynetdicom leaves that to the garbage collector."""
    if (receive := limits_of(event.assoc)) is not None:
        receive.socket.close()


def _message_ended(event: Any) -> None:
    if (receive := limits_of(event.assoc)) is not None:
        receive.message_ended(request=isinstance(event.message, C_STORE_RQ | C_ECHO_RQ))


def _answered(event: Any) -> None:
    if isinstance(event.pdu, P_DATA_TF) and (receive := limits_of(event.assoc)) is not None:
        receive.answered()


def _rejected(event: Any, settings: DicomSettings, events: DicomEvents) -> None:
    events.associations.labels("rejected").inc()
    request = event.assoc.requestor.primitive
    if request.called_ae_title != settings.ae_title:
        why = f"it calls {request.called_ae_title!r}, this server is {settings.ae_title!r}"
    elif settings.callers and request.calling_ae_title not in settings.callers:
        why = f"it calls itself {request.calling_ae_title!r}, which is not allowed (--allow-ae)"
    else:
        why = f"{settings.max_associations} associations are open, no more are allowed"
    log.warning("DICOM: association of %s rejected: %s", event.assoc.requestor.address, why)


def _store(event: Any, spool: Spool, events: DicomEvents) -> int:
    """Handle one C-STORE request; return its status."""
    request = event.request
    if request.AffectedSOPClassUID != event.context.abstract_syntax:
        events.refusals.labels("sop-class").inc()
        log.warning("DICOM: an object of a SOP class that was not agreed on was refused")
        return 0x0122
    if request.AffectedSOPClassUID not in SOP_CLASSES:  # agreed on with --dicom-other drop only
        events.dropped.inc()
        return 0x0000
    try:
        uids = _identify(request.DataSet, event.context.transfer_syntax)
    except UNREADABLE as error:
        events.refusals.labels("unreadable").inc()
        log.warning("DICOM: an object that cannot be read was refused (%s)", type(error).__name__)
        return 0xC000
    if uids != (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID):
        events.refusals.labels("mismatch").inc()
        log.warning("DICOM: an object that is not what its command says was refused")
        return 0xA900
    try:
        # The data set's own memory: `event.encoded_dataset` would copy it.
        new = spool.receive(_file_head(event), request.DataSet.getbuffer())
    except SpoolFullError as error:
        events.refusals.labels("no-room").inc()
        log.error("DICOM: a film was refused: %s", error)
        return 0xA700
    film_log.info("DICOM: film received%s", "" if new else " (it was waiting already)")
    return 0x0000


def _file_head(event: Any) -> bytes:
    """Return what stands before the data set in a DICOM file (PS3.10 section 7.1)."""
    head = DicomBytesIO(b"")
    head.is_implicit_VR, head.is_little_endian = False, True
    write_file_meta_info(head, event.file_meta)
    return bytes(128) + b"DICM" + head.getvalue()


def _identify(stream: BytesIO, transfer_syntax: str) -> tuple[str, str]:
    """Return an encoded data set's SOP class and instance UIDs, which stand near its beginning."""
    syntax = UID(transfer_syntax)
    if syntax.is_deflated:
        head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.getbuffer(), _HEAD)
    else:
        head = bytes(stream.getbuffer()[:_HEAD])
    dataset = read_dataset(
        BytesIO(head),
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
        stop_when=lambda tag, vr, length: tag > _LAST_TAG,
    )
    return str(dataset.SOPClassUID), str(dataset.SOPInstanceUID)
