"""DICOMweb: reads the films of an examination (QIDO-RS, WADO-RS) and sends results (STOW-RS)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread

from xraytransfer.errors import ServeError
from xraytransfer.serve.dicom.connection import Answer, UnreachableError
from xraytransfer.serve.dicom.scp import SOP_CLASSES
from xraytransfer.serve.dicom_results.equipment import MANUFACTURER

if TYPE_CHECKING:
    from xraytransfer.serve.dicom_settings import Destination, DicomSettings
    from xraytransfer.serve.spool.database import Delivery

__all__ = [
    "NamedFilm",
    "films_of_examination",
    "open_client",
    "search_examination",
    "service_errors",
    "web_connection",
]


_LATER = (401, 403, 404, 408, 413, 425, 429, 507)  # the reason may go away: a new token, a moved service, a busy moment
_DUPLICATE = 0x0111
_TIMEOUT_S = 60.0


class NamedFilm(BytesIO):
    """A film in memory, named by its SOP Instance UID.

    Parameters
    ----------
    data : bytes
        DICOM file.
    name : str
        The name of the film in results.
    """

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


@contextmanager
def open_client(url: str, token: str | None = None, timeout_s: float = _TIMEOUT_S) -> Iterator[DICOMwebClient]:
    """Open a client of a DICOMweb service; it does not repeat requests by itself.

    Parameters
    ----------
    url : str
        The service's root, such as ``http://localhost:8042/dicom-web``.
    token : str, optional
        Sent as ``Authorization: Bearer <token>``.
    timeout_s : float
        Longest wait for a connection, and for data on it.

    Raises
    ------
    ServeError
        The URL is not the root of a DICOMweb service.
    """
    # the client logs UIDs below this level
    logging.getLogger("dicomweb_client").setLevel(logging.ERROR)
    headers = {"Authorization": f"Bearer {token}"} if token else None
    with requests.Session() as session:
        try:
            client = DICOMwebClient(url, session=session, headers=headers, permissive_uid=True, timeout=timeout_s)
        except (ValueError, TypeError) as error:
            raise ServeError(f"{url}: not the URL of a DICOMweb service") from error
        client.set_http_retry_params(retry=False)
        yield client


def films_of_examination(url: str, study_uid: str, token: str | None = None) -> Iterator[NamedFilm]:
    """Yield an examination's radiographs one after the other, as the service stores them.

    Parameters
    ----------
    url : str
        The service's root.
    study_uid : str
        Study Instance UID of the examination.
    token : str, optional
        Sent as ``Authorization: Bearer <token>``.

    Yields
    ------
    NamedFilm
        Objects of the SOP classes of radiographs. Other objects of the examination, and this program's own results,
        are left out.

    Raises
    ------
    ServeError
        The service does not answer, refuses, or knows no such examination.
    """
    with open_client(url, token) as client:
        with service_errors(url):
            rows = search_examination(client, study_uid)
        if not rows:
            raise ServeError(f"{url} holds no examination with this Study Instance UID")
        films = [row for row in rows if str(row.get("SOPClassUID", "")) in SOP_CLASSES]
        if not films:
            raise ServeError(
                f"the examination at {url} holds no radiograph: its {len(rows)} objects are of other kinds"
            )
        for film in films:
            with service_errors(url):
                dataset = client.retrieve_instance(study_uid, film.SeriesInstanceUID, film.SOPInstanceUID)
            if str(dataset.get("Manufacturer", "")).strip() == MANUFACTURER:
                continue  # our own secondary capture of an earlier time
            buffer = BytesIO()
            dataset.save_as(buffer, enforce_file_format=True)
            yield NamedFilm(buffer.getvalue(), str(film.SOPInstanceUID))


def search_examination(client: DICOMwebClient, study_uid: str) -> list[Dataset]:
    """Return an examination's objects, page by page, until a page brings nothing new.

    The client's own paging never ends with a service that ignores the offset.
    """
    fields = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"]
    objects: dict[str, Dataset] = {}
    offset = 0
    while True:
        page = client.search_for_instances(study_uid, fields=fields, offset=offset or None)
        rows = [Dataset.from_json(row) for row in page]
        new = {str(row.SOPInstanceUID): row for row in rows if str(row.SOPInstanceUID) not in objects}
        if not new:
            return list(objects.values())
        objects |= new
        offset += len(rows)


@contextmanager
def service_errors(url: str) -> Iterator[None]:
    """Turn the errors of requests into `ServeError`; their own messages hold UIDs."""
    try:
        yield
    except requests.HTTPError as error:
        code = error.response.status_code if error.response is not None else "?"
        raise ServeError(f"{url} answered with HTTP status {code}") from error
    except requests.RequestException as error:
        raise ServeError(f"{url} does not answer ({type(error).__name__})") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ServeError(f"{url} does not answer like a DICOMweb service ({type(error).__name__})") from error


class _WebConnection:
    """A DICOMweb service to send to."""

    def __init__(self, client: DICOMwebClient) -> None:
        self._client = client

    def store(self, delivery: Delivery) -> tuple[Answer, str]:
        """Send one result by STOW-RS (PS3.18 section 10.5)."""
        result = dcmread(delivery.path)
        try:
            answer = self._client.store_instances([result], study_instance_uid=result.StudyInstanceUID)
        except requests.HTTPError as error:
            return _answer_of_error(error)
        except ValueError as error:  # an answer that is no JSON
            raise UnreachableError("the answer is not DICOMweb's") from error
        except requests.RequestException as error:
            raise UnreachableError(f"no answer ({type(error).__name__})") from error
        failed = answer.get("FailedSOPSequence")
        reason = failed[0].get("FailureReason", 0) if failed else None
        return _answer_of_reason(reason) if reason is not None else (Answer.TAKEN, "stored")

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
            if error.response is not None and error.response.status_code < 500:
                return None
            raise UnreachableError("no answer to a search (HTTP status 5xx)") from error
        except (requests.RequestException, ValueError) as error:
            raise UnreachableError(f"no answer to a search ({type(error).__name__})") from error
        return any(Dataset.from_json(row).get("SOPInstanceUID") == delivery.sop_instance_uid for row in rows)


def _answer_of_error(error: requests.HTTPError) -> tuple[Answer, str]:
    """Return the answer that an HTTP error to STOW-RS stands for."""
    response: Any = error.response
    code = response.status_code if response is not None else 0
    if code >= 500 and code != 507:
        raise UnreachableError(f"HTTP status {code}") from error
    if code == 409:  # conflict: the body gives each instance's reason
        try:
            failed = Dataset.from_json(response.json()).get("FailedSOPSequence")
        except (KeyError, TypeError, ValueError):
            failed = None
        if failed:
            return _answer_of_reason(int(failed[0].get("FailureReason", 0)))
    return (Answer.LATER if code in _LATER or code == 409 else Answer.NEVER), f"HTTP status {code}"


def _answer_of_reason(reason: int) -> tuple[Answer, str]:
    """Return the answer that a Failure Reason (0008,1197) stands for (PS3.18 table I.2-2)."""
    if reason == _DUPLICATE:
        return Answer.TAKEN, "there already"
    never = reason in (0x0122, 0x0124) or reason >> 8 == 0xA9
    return (Answer.NEVER if never else Answer.LATER), f"failure reason {reason:04X}"


@contextmanager
def web_connection(destination: Destination, settings: DicomSettings) -> Iterator[_WebConnection]:
    """Open a client of a DICOMweb destination."""
    with open_client(destination.url, settings.dicomweb_token, settings.answer_timeout_s) as client:
        yield _WebConnection(client)
