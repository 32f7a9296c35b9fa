"""DICOMweb: a client of a service, and the films of an examination (QIDO-RS, WADO-RS)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset

from xraytransfer.errors import ServeError
from xraytransfer.serve.dicom.scp import SOP_CLASSES
from xraytransfer.serve.dicom_results.equipment import MANUFACTURER

__all__ = ["NamedFilm", "films_of_examination", "open_client", "search_examination", "service_errors"]


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
    headers = {"Authorization": f"Bearer {token}"} if token else None
    with requests.Session() as session:
        session.hooks["response"].append(_without_parameters)
        try:
            client = DICOMwebClient(url, session=session, headers=headers, permissive_uid=True, timeout=timeout_s)
        except (ValueError, TypeError) as error:
            raise ServeError(f"{url}: not the URL of a DICOMweb service") from error
        client.set_http_retry_params(retry=False)
        yield client


def _without_parameters(response: requests.Response, *_: Any, **__: Any) -> None:
    """Cut ``; charset=utf-8`` from a media type: the client compares it as a whole and would ignore the answer."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind.endswith(("json", "xml")):
        response.headers["Content-Type"] = kind


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
