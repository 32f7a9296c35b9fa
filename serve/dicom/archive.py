"""The radiographs of a whole DICOMweb service: listed by examination (QIDO-RS), fetched one by one (WADO-RS).

Conventions
-----------
The address of a film is its WADO-RS address (PS3.18 section 10.4):
``<root>/studies/<UID>/series/<UID>/instances/<UID>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO

from pydicom import Dataset

from xraytransfer.errors import RadiographError, ServeError
from xraytransfer.serve.dicom.dicomweb import open_client, search_examination, service_errors
from xraytransfer.serve.dicom.scp import SOP_CLASSES

__all__ = ["fetch_film", "films_of_service"]

_ADDRESS = re.compile(r"(https?://.+)/studies/([0-9.]+)/series/([0-9.]+)/instances/([0-9.]+)")
_MODALITIES = ("DX", "CR")
_PAGE = 100


def films_of_service(root: str, token: str | None, after: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the addresses of the radiographs of each examination, with the number of examinations so far.

    Parameters
    ----------
    root : str
        The service's root, such as ``http://localhost:8042/dicom-web``.
    token : str or None
        Sent as ``Authorization: Bearer <token>``.
    after : int
        Number of examinations to pass over, in the service's own order. A service that receives examinations during
        the listing may change that order.

    Raises
    ------
    ServeError
        The service does not answer or refuses.
    """
    root = root.rstrip("/")
    with open_client(root, token) as client:
        for number, study_uid in enumerate(_examinations(root, client), 1):
            if number <= after:
                continue
            with service_errors(root):
                rows = search_examination(client, study_uid)
            yield (
                number,
                [
                    f"{root}/studies/{study_uid}/series/{row.SeriesInstanceUID}/instances/{row.SOPInstanceUID}"
                    for row in rows
                    if str(row.get("SOPClassUID", "")) in SOP_CLASSES
                ],
            )


def _examinations(root: str, client: object) -> Iterator[str]:
    """Yield the Study Instance UIDs of examinations with radiographs, page by page, each once."""
    seen: set[str] = set()
    for modality in _MODALITIES:
        offset = 0
        while True:
            with service_errors(root):
                page = client.search_for_studies(  # type: ignore[attr-defined]
                    search_filters={"ModalitiesInStudy": modality}, limit=_PAGE, offset=offset
                )
                uids = [str(Dataset.from_json(row).StudyInstanceUID) for row in page]
            new = [uid for uid in uids if uid not in seen]
            yield from new
            seen.update(new)
            offset += len(uids)
            if not new:
                break


def fetch_film(address: str, token: str | None) -> bytes:
    """Return the DICOM file of one film.

    Raises
    ------
    RadiographError
        The service does not give it; the reason is ``unavailable``.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise RadiographError("unsupported-format", "no WADO-RS address of an instance")
    root, study_uid, series_uid, sop_instance_uid = match.groups()
    try:
        with open_client(root, token) as client, service_errors(root):
            dataset = client.retrieve_instance(study_uid, series_uid, sop_instance_uid)
    except ServeError as error:
        raise RadiographError("unavailable", str(error)) from error
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
