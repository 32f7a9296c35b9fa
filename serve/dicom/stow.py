"""STOW-RS: sends results to a DICOMweb service, and asks it by QIDO-RS whether it has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from xraytransfer.serve.dicom.connection import Answer, SearchFailedError, UnreachableError
from xraytransfer.serve.dicom.dicomweb import open_client

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_settings import Destination, DicomSettings
    from xraytransfer.serve.spool.database import Delivery

__all__ = ["probe_web", "web_connection"]

_WRONG_ADDRESS = "perhaps a wrong address, or the login page of a proxy"
_LATER = {  # the reason may go away
    401: "the token is missing or wrong",
    403: "the token is missing or wrong",
    404: _WRONG_ADDRESS,
    405: _WRONG_ADDRESS,
    408: "",
    409: "",
    413: "",
    425: "",
    429: "",
    507: "",
}
_AWAY = (502, 503, 504)  # what a proxy answers for a service that does not
_SEARCH_LATER = (408, 425, 429)
_NOT_IMPLEMENTED = 501
_DUPLICATE = 0x0111  # PS3.7 annex C.5.6
_PROCESSING_FAILURE = 0x0110  # Google's Healthcare API says so, with status 409, of what it has already
_NOT_DICOMWEB = (AttributeError, KeyError, TypeError, ValueError, SyntaxError)  # SyntaxError: of broken XML


class _WebConnection:
    """A DICOMweb service to send to."""

    def __init__(self, client: DICOMwebClient) -> None:
        self._client = client

    def store(self, delivery: Delivery) -> tuple[Answer, str]:
        """Send one result by STOW-RS (PS3.18 section 10.5).

        It counts as taken where the answer's Referenced SOP Sequence holds it, or where a search finds it after an
        answer that proves nothing.
        """
        result = dcmread(delivery.path)
        try:
            answer = self._client.store_instances([result], study_instance_uid=result.StudyInstanceUID)
        except requests.HTTPError as error:
            answer, status = _dataset_of_error(error)
            if not answer:
                return status
        except _NOT_DICOMWEB:  # before the next one: broken JSON is a RequestException too
            answer = Dataset()
        except requests.RequestException as error:
            raise UnreachableError(f"no answer ({type(error).__name__})") from error
        return self._judge(answer, delivery)

    def _judge(self, answer: Dataset, delivery: Delivery) -> tuple[Answer, str]:
        """Return what a Store Instances Response (PS3.18 table I.1-1) says of a result."""
        if _item_of(answer.get("ReferencedSOPSequence"), delivery) is not None:
            return Answer.TAKEN, "stored"
        failed = _item_of(answer.get("FailedSOPSequence"), delivery)
        reason = failed.get("FailureReason") if failed is not None else None
        if isinstance(reason, int) and reason != _PROCESSING_FAILURE:
            return _answer_of_reason(reason)
        if self._finds(delivery):
            return Answer.TAKEN, "there already"
        if reason == _PROCESSING_FAILURE:
            return _answer_of_reason(_PROCESSING_FAILURE)
        if len(answer) == 0:
            raise UnreachableError(f"the answer to STOW-RS is not DICOMweb's ({_WRONG_ADDRESS})")
        return Answer.LATER, "the answer to STOW-RS does not name the result, so nothing proves that it is there"

    def _finds(self, delivery: Delivery) -> bool:
        try:
            return bool(self.holds(delivery))
        except (SearchFailedError, UnreachableError):
            return False

    def holds(self, delivery: Delivery) -> bool | None:
        """Query for one result by QIDO-RS; None if the service does not support that."""
        result = dcmread(delivery.path, stop_before_pixels=True)
        try:
            rows = self._client.search_for_instances(
                study_instance_uid=result.StudyInstanceUID,
                series_instance_uid=result.SeriesInstanceUID,
                search_filters={"SOPInstanceUID": delivery.sop_instance_uid},
            )
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else 0
            if code in _AWAY:
                raise UnreachableError(f"no answer to a search (HTTP status {code})") from error
            if code in _SEARCH_LATER or (code >= 500 and code != _NOT_IMPLEMENTED):
                raise SearchFailedError(f"a search failed: HTTP status {code}") from error
            return None
        except (requests.RequestException, *_NOT_DICOMWEB) as error:
            raise UnreachableError(f"no answer to a search ({type(error).__name__})") from error
        return any(Dataset.from_json(row).get("SOPInstanceUID") == delivery.sop_instance_uid for row in rows)


def _item_of(sequence: Any, delivery: Delivery) -> Dataset | None:
    """Return the item of a sequence that refers to a result, None where there is none."""
    items = sequence if isinstance(sequence, Sequence) else ()
    return next((item for item in items if item.get("ReferencedSOPInstanceUID") == delivery.sop_instance_uid), None)


def _dataset_of_error(error: requests.HTTPError) -> tuple[Dataset, tuple[Answer, str]]:
    """Return the module that a conflict's body holds, empty where it holds none, and what the HTTP status means."""
    response: Any = error.response
    code = response.status_code if response is not None else 0
    if code >= 500 and code != 507:
        raise UnreachableError(f"HTTP status {code}") from error
    words = f"HTTP status {code}" + (f": {_LATER[code]}" if _LATER.get(code) else "")
    status = Answer.LATER if code in _LATER else Answer.NEVER, words
    try:
        return (Dataset.from_json(response.json()) if code == 409 else Dataset()), status
    except _NOT_DICOMWEB:
        return Dataset(), status


def _answer_of_reason(reason: int) -> tuple[Answer, str]:
    """Return the answer that a Failure Reason (0008,1197) of our own object stands for (PS3.18 table I.2-2)."""
    if reason == _DUPLICATE:
        return Answer.TAKEN, "there already"
    never = reason in (0x0122, 0x0124) or reason >> 8 == 0xA9
    return (Answer.NEVER if never else Answer.LATER), f"failure reason {reason:04X}"


def probe_web(destination: Destination, settings: DicomSettings) -> str:
    """Ask a DICOMweb service for an examination that cannot exist, and return what that tells, for the log.

    Raises
    ------
    UnreachableError
        Nothing answers.
    """
    with open_client(destination.url, settings.dicomweb_token, settings.answer_timeout_s) as client:
        try:
            client.search_for_studies(search_filters={"StudyInstanceUID": generate_uid(prefix=None)}, limit=1)
        except requests.HTTPError as error:
            code = error.response.status_code if error.response is not None else 0
            hint = _LATER.get(code) or "it cannot be searched"
            return f"answers a search (QIDO-RS) with HTTP status {code}: {hint}; the first result will tell"
        except _NOT_DICOMWEB:  # before the next one: broken JSON is a RequestException too
            return f"answers a search (QIDO-RS) with something else than DICOMweb: {_WRONG_ADDRESS}"
        except requests.RequestException as error:
            raise UnreachableError(f"does not answer ({type(error).__name__})") from error
    return "answers a search (QIDO-RS)"


@contextmanager
def web_connection(destination: Destination, settings: DicomSettings) -> Iterator[_WebConnection]:
    """Open a client of a DICOMweb destination."""
    with open_client(destination.url, settings.dicomweb_token, settings.answer_timeout_s) as client:
        yield _WebConnection(client)
