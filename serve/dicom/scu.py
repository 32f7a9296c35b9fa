"""The storage SCU: sends results to a node by C-STORE, and checks by C-FIND that the node has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find  # type: ignore[attr-defined]
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from xraytransfer.serve.dicom.connection import Answer, SearchFailedError, UnreachableError
from xraytransfer.serve.dicom.scp import application_entity
from xraytransfer.serve.dicom.tls import node_context

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_settings import Destination, DicomSettings
    from xraytransfer.serve.spool.database import Delivery

__all__ = ["SOP_CLASSES", "TRANSFER_SYNTAXES", "classify", "node_connection", "probe_node"]

SOP_CLASSES = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)
"""Storage SOP classes proposed; an association proposes only those of the results that wait."""

TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""Transfer syntaxes proposed for each of them."""

_DUPLICATE = 0x0111
_SEARCHED = (0x0000, 0xFF00, 0xFF01)  # PS3.4 table C.4-1
_NO_SEARCH = (0x0122, 0x0124, 0x0211, 0xA900)  # no such class, not authorised, no such operation, no such query
_NEVER = (0x0117, 0x0118, 0x0119, 0x0122, 0x0124)  # invalid instance, no such class, not authorised, ...


def classify(status: int) -> Answer:
    """Return the answer that a C-STORE status stands for (PS3.4 table B.2-1, PS3.7 annex C)."""
    if status == 0x0000 or status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116, _DUPLICATE):
        return Answer.TAKEN
    if status in _NEVER or status >> 8 == 0xA9:
        return Answer.NEVER
    return Answer.LATER


class _NodeConnection:
    """An open association."""

    def __init__(self, association: Association) -> None:
        self._association = association

    def store(self, delivery: Delivery) -> tuple[Answer, str]:
        """Send one result by C-STORE."""
        accepted = {context.abstract_syntax for context in self._association.accepted_contexts}
        if delivery.sop_class_uid not in accepted:
            return Answer.LATER, f"the node does not take SOP class {delivery.sop_class_uid}"
        if not self._association.is_established:
            raise UnreachableError("the association was ended by the node")
        try:
            status = self._association.send_c_store(dcmread(delivery.path))
        except RuntimeError as error:  # pynetdicom: the association went away meanwhile
            raise UnreachableError("the association was ended by the node") from error
        if "Status" not in status:
            raise UnreachableError("no answer came to a C-STORE")
        named = status.get("AffectedSOPInstanceUID") or delivery.sop_instance_uid
        if status.Status == _DUPLICATE and named != delivery.sop_instance_uid:
            return Answer.LATER, "status 0111 (duplicate) for another object than the one sent"
        return classify(status.Status), f"status {status.Status:04X}"

    def holds(self, delivery: Delivery) -> bool | None:
        """Query for one result by C-FIND on image level; None if the node does not support that."""
        if Find not in {context.abstract_syntax for context in self._association.accepted_contexts}:
            return None
        result = dcmread(delivery.path, stop_before_pixels=True)
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID = result.StudyInstanceUID
        query.SeriesInstanceUID = result.SeriesInstanceUID
        query.SOPInstanceUID = delivery.sop_instance_uid
        held = False
        for status, answer in self._association.send_c_find(query, Find):
            if "Status" not in status:
                raise UnreachableError("no answer came to a C-FIND")
            if status.Status in _NO_SEARCH:
                return None
            if status.Status not in _SEARCHED:
                raise SearchFailedError(f"a C-FIND failed: status {status.Status:04X}")
            uid = answer.get("SOPInstanceUID") if answer is not None else None
            held = held or uid == delivery.sop_instance_uid
        return held


def probe_node(destination: Destination, settings: DicomSettings) -> str:
    """Associate with a node, ask by C-ECHO, and return what was found, for the log.

    Raises
    ------
    UnreachableError
        The node does not answer, rejects or aborts the association, or accepts no context.
    """
    entity = application_entity(settings)
    entity.add_requested_context(Verification, list(TRANSFER_SYNTAXES))
    for sop_class in SOP_CLASSES:
        entity.add_requested_context(sop_class, list(TRANSFER_SYNTAXES))
    with _associated(entity, destination, settings) as association:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
        echo = "does not take C-ECHO"
        if Verification in accepted:
            status = association.send_c_echo().get("Status")
            echo = "answers C-ECHO" if status == 0x0000 else "answers C-ECHO with an error"
    refused = [UID(sop_class).name for sop_class in SOP_CLASSES if sop_class not in accepted]
    return f"{echo}; " + (f"does not accept {' nor '.join(refused)}" if refused else "accepts our results")


@contextmanager
def node_connection(
    destination: Destination, settings: DicomSettings, deliveries: Sequence[Delivery]
) -> Iterator[_NodeConnection]:
    """Open an association that proposes the contexts that the deliveries need, and release it afterwards.

    Raises
    ------
    UnreachableError
        The node does not answer, rejects or aborts the association, or accepts no context.
    """
    entity = application_entity(settings)
    for sop_class in SOP_CLASSES:
        if any(delivery.sop_class_uid == sop_class for delivery in deliveries):
            entity.add_requested_context(sop_class, list(TRANSFER_SYNTAXES))
    if any(delivery.state == "accepted" for delivery in deliveries):
        entity.add_requested_context(Find, list(TRANSFER_SYNTAXES))
    with _associated(entity, destination, settings) as association:
        yield _NodeConnection(association)


@contextmanager
def _associated(entity: AE, destination: Destination, settings: DicomSettings) -> Iterator[Association]:
    """Open an association with a node, and release it afterwards."""
    association = entity.associate(
        destination.host,
        destination.port,
        ae_title=destination.ae_title,
        tls_args=node_context(destination, settings),
    )
    if not association.is_established:
        if association.is_rejected:
            raise UnreachableError("the association was rejected")
        if association.rejected_contexts:
            raise UnreachableError("the node answers, but accepts none of our SOP classes")
        raise UnreachableError("the node does not answer")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
