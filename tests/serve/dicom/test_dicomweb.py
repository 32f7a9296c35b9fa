"""DICOMweb with a service that answers what it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("dicomweb_client")
pytest.importorskip("pynetdicom")

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from xraytransfer.errors import ServeError
from xraytransfer.serve.dicom.connection import Answer, SearchFailedError, UnreachableError
from xraytransfer.serve.dicom.dicomweb import films_of_examination
from xraytransfer.serve.dicom.stow import probe_web, web_connection
from xraytransfer.serve.dicom_settings import Destination, DicomSettings
from xraytransfer.serve.spool.database import Delivery


class Service:
    """An HTTP server; `answers` are given one after the other, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = [(200, {})]
        self.kind = "application/dicom+json"
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                service.requests.append((self.command, self.path, dict(self.headers)))
                status, body = service.answers.pop(0) if len(service.answers) > 1 else service.answers[0]
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", service.kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/dicom-web"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def delivery(tmp_path: Path) -> Delivery:
    result = Dataset()
    result.file_meta = FileMetaDataset()
    result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    result.SOPClassUID, result.SOPInstanceUID = SecondaryCaptureImageStorage, "2.25.1"
    result.StudyInstanceUID, result.SeriesInstanceUID = "1.2.3.1", "2.25.2"
    result.save_as(tmp_path / "result.dcm", enforce_file_format=True)
    return Delivery(1, tmp_path / "result.dcm", result.SOPClassUID, "2.25.1", "web", "waiting", 0)


def settings(url: str) -> DicomSettings:
    return DicomSettings(
        spool=Path("spool"),
        destinations=(Destination.parse(url),),
        dicomweb_token="secret-token",
        answer_timeout_s=5,
    )


def failed(reason: int, uid: str = "2.25.1") -> dict[str, Any]:
    item = {"00081197": {"vr": "US", "Value": [reason]}, "00081155": {"vr": "UI", "Value": [uid]}}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


def stored(uid: str = "2.25.1") -> dict[str, Any]:
    return {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}}


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (200, stored(), Answer.TAKEN),
        (202, stored(), Answer.TAKEN),
        (200, stored("2.25.7"), Answer.LATER),
        (200, failed(0x0111, "2.25.7"), Answer.LATER),
        (409, failed(0x0110), Answer.LATER),
        (405, b"<html>", Answer.LATER),
        (202, failed(0xA700), Answer.LATER),
        (200, failed(0x0111), Answer.TAKEN),
        (409, failed(0x0111), Answer.TAKEN),
        (409, failed(0xA900), Answer.NEVER),
        (409, failed(0x0122), Answer.NEVER),
        (409, failed(0xC000), Answer.LATER),
        (409, b"no JSON", Answer.LATER),
        (400, b"", Answer.NEVER),
        (415, b"", Answer.NEVER),
        (401, b"", Answer.LATER),
        (404, b"", Answer.LATER),
        (413, b"", Answer.LATER),
        (429, b"", Answer.LATER),
        (507, b"", Answer.LATER),
    ],
)
def test_answers_to_stow(service: Service, delivery: Delivery, status: int, body: Any, answer: Answer) -> None:
    service.answers = [(status, body)]
    chosen = settings(service.url)
    with web_connection(chosen.destinations[0], chosen) as connection:
        assert connection.store(delivery)[0] is answer
    method, path, headers = service.requests[0]
    # one request, and perhaps a search: repeats are the sender's business
    assert [request[0] for request in service.requests[1:]] in ([], ["GET"])
    assert (method, path) == ("POST", "/dicom-web/studies/1.2.3.1")
    assert headers["Authorization"] == "Bearer secret-token"
    assert headers["Content-Type"].startswith('multipart/related; type="application/dicom"')


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (502, b""), (503, b""), (200, b"not JSON"), (200, b""), (200, {}), (200, []), (200, b"<html>")],
)
def test_a_service_that_is_ill(service: Service, delivery: Delivery, status: int, body: bytes) -> None:
    service.answers = [(status, body)]
    chosen = settings(service.url)
    with (
        web_connection(chosen.destinations[0], chosen) as connection,
        pytest.raises(UnreachableError, match=r"HTTP status 50|not DICOMweb's .perhaps a wrong address"),
    ):
        connection.store(delivery)


@pytest.mark.parametrize("kind", ["text/html", "application/dicom+xml", "application/dicom+json", ""])
def test_a_login_page_takes_nothing(service: Service, delivery: Delivery, kind: str) -> None:
    service.answers, service.kind = [(200, b"<html><body>Please log in<br></body></html>")], kind
    chosen = settings(service.url)
    with (
        web_connection(chosen.destinations[0], chosen) as connection,
        pytest.raises(UnreachableError, match="the login page of a proxy"),
    ):
        connection.store(delivery)


def test_a_media_type_with_parameters(service: Service, delivery: Delivery) -> None:
    service.answers, service.kind = [(200, stored())], "application/dicom+json; charset=UTF-8"
    chosen = settings(service.url)
    with web_connection(chosen.destinations[0], chosen) as connection:
        assert connection.store(delivery) == (Answer.TAKEN, "stored")


@pytest.mark.parametrize(("status", "body"), [(409, failed(0x0110)), (200, b""), (200, {})])
def test_what_a_search_finds_is_there(service: Service, delivery: Delivery, status: int, body: Any) -> None:
    service.answers = [(status, body), (200, [{"00080018": {"vr": "UI", "Value": ["2.25.1"]}}])]
    chosen = settings(service.url)
    with web_connection(chosen.destinations[0], chosen) as connection:
        assert connection.store(delivery) == (Answer.TAKEN, "there already")


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, [], "answers a search"),
        (204, b"", "answers a search"),
        (404, b"", "HTTP status 404: perhaps a wrong address"),
        (401, b"", "the token is missing or wrong"),
        (501, b"", "cannot be searched"),
        (200, b"<html>", "something else than DICOMweb"),
    ],
)
def test_probing(service: Service, status: int, body: Any, found: str) -> None:
    service.answers = [(status, body)]
    chosen = settings(service.url)
    assert found in probe_web(chosen.destinations[0], chosen)


def test_a_service_that_is_away(service: Service, delivery: Delivery) -> None:
    chosen = settings("http://127.0.0.1:1/dicom-web")
    with web_connection(chosen.destinations[0], chosen) as connection:
        with pytest.raises(UnreachableError, match="no answer") as raised:
            connection.store(delivery)
        with pytest.raises(UnreachableError, match="no answer"):
            connection.holds(delivery)
    assert "1.2.3" not in str(raised.value)


def test_confirmation_by_search(service: Service, delivery: Delivery) -> None:
    service.answers = [(200, []), (200, [{"00080018": {"vr": "UI", "Value": ["2.25.1"]}}])]
    chosen = settings(service.url)
    with web_connection(chosen.destinations[0], chosen) as connection:
        assert not connection.holds(delivery)
        assert connection.holds(delivery)
        service.answers = [(503, b""), (500, b""), (429, b""), (501, b""), (404, b"")]
        with pytest.raises(UnreachableError, match="HTTP status 503"):
            connection.holds(delivery)
        for status in (500, 429):
            with pytest.raises(SearchFailedError, match=f"HTTP status {status}"):
                connection.holds(delivery)
        assert connection.holds(delivery) is None  # not implemented
        assert connection.holds(delivery) is None
    assert service.requests[0][1].startswith("/dicom-web/studies/1.2.3.1/series/2.25.2/instances?")


def row(sop_class: str) -> dict[str, Any]:
    values = {"00080016": sop_class, "00080018": "1.2.9", "0020000E": "1.2.8"}
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}


@pytest.mark.parametrize(
    ("status", "body", "match"),
    [
        (200, [], "holds no examination"),
        (204, b"", "holds no examination|does not answer like"),
        (200, [row("1.2.840.10008.5.1.4.1.1.2")], "holds no radiograph: its 1 objects"),
        (401, b"", "HTTP status 401"),
        (200, b"<html>", "does not answer"),
    ],
)
def test_examinations_that_cannot_be_read(service: Service, status: int, body: Any, match: str) -> None:
    service.answers = [(status, body)]
    with pytest.raises(ServeError, match=match) as raised:
        list(films_of_examination(service.url, "1.2.3.1"))
    assert "1.2.3.1" not in str(raised.value)


def test_an_address_that_is_none() -> None:
    with pytest.raises(ServeError, match="not the URL of a DICOMweb service"):
        list(films_of_examination("ftp://host/dicom-web", "1.2.3"))
