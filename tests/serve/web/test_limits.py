"""Hostile and unlucky clients: bodies too large, too slow, malformed, compressed; clients that leave."""

from __future__ import annotations

import gc
import http.client
import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("httpx")

import httpx
import requests

PATIENCE = 60
PNG = {"Content-Type": "image/png"}
MIB, GIB = 1 << 20, 1 << 30


def picture(seed: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 250, (64, 64), np.uint8)).save(file, "PNG")
    return file.getvalue()


class Raw:
    """A client that may break every rule."""

    def __init__(self, port: int, head: str, body: bytes = b"") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.sendall(head.replace("\n", "\r\n").encode() + body)
        self._read = b""

    def answer(self) -> tuple[int, dict]:
        """Read one answer."""
        data = self._read
        while b"\r\n\r\n" not in data:
            chunk = self.socket.recv(65536)
            assert chunk, "the connection ended before an answer"
            data += chunk
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
        while len(body) < length:
            body += self.socket.recv(65536)
        self._read = body[length:]
        return int(head.split()[1]), json.loads(body[:length])

    def flood(self) -> None:
        """Send for as long as the server lets us."""
        while True:
            self.socket.sendall(bytes(1 << 20))

    def ended(self) -> bool:
        """Wait for the server to end the connection."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        return True


@pytest.fixture
def connect():
    """Return a function that opens a raw connection; all are closed after the test."""
    clients = []

    def make(server, head: str, body: bytes = b"") -> Raw:
        clients.append(Raw(server.port, head, body))
        return clients[-1]

    yield make
    for client in clients:
        client.socket.close()


@pytest.fixture(scope="module")
def server(serve_http):
    return serve_http(max_files=50)


def head(length: str, kind: str = "image/png", extra: str = "") -> str:
    return f"POST /v1/predict HTTP/1.1\nHost: localhost\nContent-Type: {kind}\n{length}\n{extra}\n"


def scores_still(server) -> bool:
    answer = httpx.post(f"{server.url}/v1/predict", content=picture(), headers=PNG, timeout=PATIENCE)
    return answer.status_code == 200


def test_ten_gigabytes_are_refused_before_they_are_sent(serve_http, connect):
    server = serve_http()
    status, problem = connect(server, head(f"Content-Length: {10 * GIB}")).answer()
    assert (status, problem["reason"]) == (413, "body-too-large")
    kind = "multipart/form-data; boundary=b"
    status, problem = connect(server, head(f"Content-Length: {10 * GIB}", kind)).answer()
    assert (status, problem["reason"]) == (413, "body-too-large")


def test_a_refused_body_that_still_comes_is_not_read_for_ever(serve_http, connect):
    server = serve_http(idle_timeout_s=0.5)
    client = connect(server, head(f"Content-Length: {10 * GIB}"))
    assert client.answer()[0] == 413
    with pytest.raises(OSError, match=r"reset|pipe"):
        client.flood()
    assert scores_still(server)


def test_a_body_of_unknown_length_ends_at_the_limit(serve_http):
    server = serve_http(max_file_bytes=100_000)

    def chunks():
        for _ in range(20):
            yield bytes(10_000)

    response = httpx.post(f"{server.url}/v1/predict", content=chunks(), headers=PNG, timeout=PATIENCE)
    assert (response.status_code, response.json()["reason"]) == (413, "body-too-large")
    assert server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 0


def test_a_part_ends_at_the_limit(serve_http):
    server = serve_http(max_file_bytes=100_000)
    response = httpx.post(f"{server.url}/v1/predict", files={"film": bytes(200_000)}, timeout=PATIENCE)
    assert (response.status_code, response.json()["reason"]) == (413, "body-too-large")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_compressed_bodies_are_not_unpacked(server, encoding):
    response = httpx.post(
        f"{server.url}/v1/predict",
        content=b"\x1f\x8b" + bytes(100),
        headers={**PNG, "Content-Encoding": encoding},
    )
    assert (response.status_code, response.json()["reason"]) == (415, "unsupported-encoding")
    assert response.headers["accept-encoding"] == "identity"


def multipart(*parts: bytes, end: bool = True) -> bytes:
    return b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + (b"--b--\r\n" if end else b"")


FILE = b'Content-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (multipart(FILE + b"x", end=False), "bad-multipart"),
        (multipart(FILE + b"x")[:-12], "bad-multipart"),
        (b"--wrong\r\n" + FILE + b"x\r\n--wrong--\r\n", "bad-multipart"),
        (multipart(b'Content-Disposition: form-data; name="f"\r\n\r\nvalue'), "bad-multipart"),
        (multipart(b"\r\nno headers"), "bad-multipart"),
        (multipart(b"X-Long: " + b"a" * 20_000 + b"\r\n\r\nx"), "bad-multipart"),
        (multipart(b"X-Long: " + b"a\r\nX: b" * 4000 + b"\r\n\r\nx"), "bad-multipart"),
        (multipart(*[FILE + b"x"] * 4000), "too-many-files"),
        (b"--b--\r\n", "empty-body"),
        (b"", "bad-multipart"),
        (b"\xff" * 1000, "bad-multipart"),
    ],
)
def test_malformed_multipart(server, body, reason):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = httpx.post(f"{server.url}/v1/predict", content=body, headers=headers, timeout=PATIENCE)
    assert response.json()["reason"] == reason
    assert server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 0
    assert server.engine.depth == 0


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + "b" * 71])
def test_boundaries(server, boundary):
    headers = {"Content-Type": "multipart/form-data" + boundary}
    response = httpx.post(f"{server.url}/v1/predict", content=b"", headers=headers)
    assert response.json()["reason"] == "bad-multipart"


def test_a_head_that_never_ends(serve_http, connect):
    server = serve_http(idle_timeout_s=0.5)
    silent = connect(server, "")
    dripping = connect(server, "POST /v1/predict HTTP/1.1\nHost: localhost\nX-Drip: ")
    assert silent.ended()
    assert dripping.ended()
    assert scores_still(server)


CHUNKED = head("Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        ("POST /v1/predict?", b"a" * 100_000),
        ("POST /v1/predict HTTP/1.1\nX-Long: ", b"a" * 100_000),
        ("POST /v1/predict HTTP/1.1\nHost: localhost\n", b"X: aaaaaaaa\r\n" * 10_000),
        (CHUNKED + "1\nx\n0\n", b"X: aaaaaaaa\r\n" * 10_000),
        (CHUNKED + "1;", b"a" * 100_000),
    ],
    ids=["path", "header", "headers", "trailers", "chunk extension"],
)
def test_what_is_no_body_is_limited(serve_http, connect, start, piece):
    server = serve_http()
    client = connect(server, start)
    with pytest.raises(OSError, match=r"reset|pipe"):
        client.socket.sendall(piece * (20_000_000 // len(piece)))
    until(lambda: not server.http.connections)
    assert scores_still(server)


def test_a_film_in_small_chunks_is_read(serve_http):
    def chunks():
        for start in range(0, len(film), 512):
            yield film[start : start + 512]

    film = large_picture()
    answer = httpx.post(f"{serve_http().url}/v1/predict", content=chunks(), headers=PNG, timeout=PATIENCE)
    assert answer.status_code == 200


def test_a_film_that_comes_slowly_but_comes(serve_http, connect):
    server = serve_http(idle_timeout_s=0.4)
    film = large_picture()
    client = connect(server, head(f"Content-Length: {len(film)}"))
    for start in range(0, len(film), 50_000):
        client.socket.sendall(film[start : start + 50_000])
        time.sleep(0.1)
    assert client.answer()[0] == 200


def test_a_body_that_stops(serve_http, connect):
    server = serve_http(idle_timeout_s=0.5)
    status, problem = connect(server, head("Content-Length: 1000"), b"abc").answer()
    assert (status, problem["reason"]) == (408, "slow-upload")


def test_a_body_that_drips(serve_http, connect):
    server = serve_http(idle_timeout_s=0.5, min_upload_rate=1_000_000)
    client = connect(server, head("Content-Length: 100000"))
    dripping = threading.Event()

    def drip() -> None:
        try:
            while not dripping.wait(0.05):
                client.socket.sendall(b"x")
        except OSError:
            pass

    thread = threading.Thread(target=drip)
    thread.start()
    status, problem = client.answer()
    dripping.set()
    thread.join()
    assert (status, problem["reason"]) == (408, "slow-upload")


def test_nonsense_is_answered_or_ended(serve_http, connect):
    server = serve_http()
    for nonsense in (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", bytes(1000), b"POST / HTTP/9.9\r\n\r\n"):
        client = connect(server, "", nonsense + b"\r\n\r\n")
        assert client.ended()
    assert scores_still(server)


class Gate:
    """Holds workers inside their films until it is opened."""

    def __init__(self, engine) -> None:
        self._open = threading.Event()
        self._reached = threading.Semaphore(0)
        for _ in range(engine.workers):
            engine.submit(picture(), self._hold)
        for _ in range(engine.workers):
            assert self._reached.acquire(timeout=PATIENCE)

    def _hold(self, *_: object) -> None:
        self._reached.release()
        self._open.wait(PATIENCE)

    def open(self) -> None:
        self._open.set()


def until(condition) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_full_queue_refuses_before_the_body_is_sent(serve_http, connect):
    server = serve_http(queue_size=2)
    gate = Gate(server.engine)
    client = connect(server, head("Content-Length: 1000000"))
    status, problem = client.answer()
    assert (status, problem["reason"]) == (503, "busy")
    response = httpx.post(f"{server.url}/v1/predict", content=picture(), headers=PNG)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    gate.open()
    until(lambda: server.engine.depth == 0)
    assert scores_still(server)


def by_httpx(url: str, film: bytes) -> int:
    return httpx.post(url, content=film, headers=PNG, timeout=PATIENCE).status_code


def by_requests(url: str, film: bytes) -> int:
    return requests.post(url, data=film, headers=PNG, timeout=PATIENCE).status_code


def by_http_client(url: str, film: bytes) -> int:
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=PATIENCE)
    connection.request("POST", "/v1/predict", film, PNG)
    status = connection.getresponse().status
    connection.close()
    return status


def by_curl(url: str, film: bytes) -> int:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = ["curl", "-s", "-o", "-", "-w", "\n%{http_code}", "-H", "Content-Type: image/png", "-H", "Expect:"]
    done = subprocess.run([*command, "--data-binary", "@-", url], input=film, capture_output=True, check=True)
    return int(done.stdout.rsplit(b"\n", 1)[1])


@pytest.mark.parametrize("post", [by_httpx, by_requests, by_http_client, by_curl])
def test_clients_that_do_not_ask_first_read_their_refusal(serve_http, post: Callable[[str, bytes], int]):
    server = serve_http(queue_size=2)
    gate = Gate(server.engine)
    assert post(f"{server.url}/v1/predict", bytes(30_000_000)) == 503
    assert server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 0
    gate.open()


def test_a_refusal_comes_before_the_body_and_leaves_the_connection_usable(serve_http, connect):
    server = serve_http(queue_size=2)
    gate = Gate(server.engine)
    film = large_picture() * 8
    client = connect(server, head(f"Content-Length: {len(film)}"), film[:1000])
    status, problem = client.answer()
    assert (status, problem["reason"]) == (503, "busy")
    for start in range(1000, len(film), 1 << 20):  # what comes later is dropped, whenever it comes
        client.socket.sendall(film[start : start + (1 << 20)])
    assert server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 0
    gate.open()
    until(lambda: server.engine.depth == 0)
    small = picture()
    client.socket.sendall(head(f"Content-Length: {len(small)}").replace("\n", "\r\n").encode() + small)
    assert client.answer()[0] == 200


@pytest.mark.parametrize("waits", [True, False], ids=["later", "in one piece"])
def test_what_follows_a_refused_body_is_read(serve_http, connect, waits):
    server = serve_http(max_file_bytes=1000)
    asking = head(f"Content-Length: {1 << 23}").replace("\n", "\r\n").encode()
    following = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client = connect(server, "")
    for _ in range(3):
        client.socket.sendall(asking + bytes(1 << 23) + (b"" if waits else following))
        assert client.answer()[0] == 413
        if waits:
            client.socket.sendall(following)
        assert client.answer() == (200, {"alive": True})


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system does not list descriptors")
@pytest.mark.parametrize("rude", [False, True], ids=["ends", "resets"])
def test_clients_that_leave_while_their_refused_bodies_are_dropped_leave_nothing_behind(serve_http, connect, rude):
    server = serve_http(max_file_bytes=1000)
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    clients = [connect(server, head(f"Content-Length: {GIB}"), bytes(1000 + n)) for n in range(8)]
    for client in clients:
        assert client.answer()[0] == 413
        client.socket.sendall(bytes(1 << 20))
    assert len(os.listdir("/dev/fd")) >= before + 16  # both ends
    for client in clients:
        if rude:  # a reset instead of an end
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
    until(lambda: not server.http.connections)
    until(lambda: len(os.listdir("/dev/fd")) <= before)


def test_a_body_refused_half_way_is_not_kept(serve_http, connect):
    server = serve_http(idle_timeout_s=0.5)
    film = large_picture()
    client = connect(server, head(f"Content-Length: {len(film)}"), film[:600_000])
    assert client.answer()[0] == 408
    client.socket.sendall(film[600_000:])
    client.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.answer() == (200, {"alive": True})


def test_a_client_that_leaves_frees_its_place(serve_http, connect):
    server = serve_http(queue_size=4)
    gate = Gate(server.engine)
    film = picture()
    client = connect(server, head(f"Content-Length: {len(film)}"), film)
    many = multipart(FILE + film)
    kind = "multipart/form-data; boundary=b"
    other = connect(server, head(f"Content-Length: {len(many)}", kind), many)
    until(lambda: server.engine.depth == 4)
    client.socket.close()
    until(lambda: server.engine.depth == 3)
    other.socket.close()
    until(lambda: server.engine.depth == 2)
    gate.open()
    until(lambda: server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 0)


def test_a_client_that_leaves_while_it_sends(serve_http, connect):
    server = serve_http()
    many = multipart(*[FILE + picture()] * 5)
    client = connect(server, head(f"Content-Length: {2 * len(many)}", "multipart/form-data; boundary=b"), many)
    until(lambda: server.engine.last_scored > 0)
    client.socket.close()
    until(lambda: server.engine.depth == 0)
    until(lambda: server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 0)
    assert scores_still(server)


def test_a_film_whose_time_is_up(serve_http):
    server = serve_http(deadline_s=0.2)
    gate = Gate(server.engine)
    response = httpx.post(f"{server.url}/v1/predict", content=picture(), headers=PNG, timeout=PATIENCE)
    assert (response.status_code, response.json()["reason"]) == (504, "deadline")
    parts = httpx.post(f"{server.url}/v1/predict", files={"film": picture()}, timeout=PATIENCE).json()
    assert parts["results"][0]["status"] == 504
    gate.open()


def test_bodies_share_a_limit_of_memory(serve_http):
    server = serve_http(max_held_bytes=1000)
    response = httpx.post(f"{server.url}/v1/predict", content=picture(), headers=PNG)
    assert (response.status_code, response.json()["reason"]) == (503, "busy")
    assert server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 0


def test_a_body_takes_memory_as_it_arrives_not_as_it_is_announced(serve_http, connect):
    server = serve_http(max_held_bytes=1_000_000)
    client = connect(server, head("Content-Length: 50000000"), bytes(1000))
    until(lambda: server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 1000)
    client.socket.sendall(bytes(2_000_000))
    status, problem = client.answer()
    assert (status, problem["reason"]) == (503, "busy")


def test_pixels_are_limited(serve_http):
    response = httpx.post(f"{serve_http(max_pixels=1000).url}/v1/predict", content=picture(), headers=PNG)
    assert (response.status_code, response.json()["reason"]) == (413, "too-large")


def test_requests_are_limited_and_probes_answered_all_the_same(serve_http, connect):
    server = serve_http(max_requests=2)
    uploading = [connect(server, head("Content-Length: 1000")) for _ in range(2)]
    until(lambda: httpx.get(f"{server.url}/v1/model").status_code == 503)
    answer = httpx.get(f"{server.url}/v1/model")
    assert (answer.json()["reason"], answer.headers["retry-after"]) == ("busy", "2")
    assert "content-security-policy" in answer.headers
    assert [httpx.get(f"{server.url}/{probe}").status_code for probe in ("healthz", "readyz")] == [200, 200]
    for client in uploading:
        client.socket.close()
    until(lambda: httpx.get(f"{server.url}/v1/model").status_code == 200)


def test_half_open_and_idle_connections_keep_nobody_out(serve_http, connect):
    server = serve_http(idle_timeout_s=2, max_requests=8)
    httpx.get(f"{server.url}/readyz")  # once before, so that its film is scored
    held = [connect(server, begun) for begun in ("GET / HTTP/1.1\n", "") for _ in range(200)]
    started = time.monotonic()
    for path in ("/healthz", "/readyz"):
        assert httpx.get(server.url + path, timeout=1).status_code == 200
    assert scores_still(server)
    assert all(client.ended() for client in held)
    assert time.monotonic() - started < PATIENCE
    until(lambda: not server.http.connections)


def test_beyond_the_limit_the_oldest_idle_connections_end(serve_http, connect):
    server = serve_http(max_connections=5)
    oldest = connect(server, "")
    time.sleep(1)
    held = [connect(server, "GET / HTTP/1.1\n") for _ in range(5)]
    assert oldest.ended()
    assert len(server.http.connections) == 5
    held[0].socket.sendall(b"Host: localhost\r\n\r\n")
    assert held[0].socket.recv(100).startswith(b"HTTP/1.1 200")


def test_slow_uploads_that_announce_much_lock_nobody_out(serve_http, connect):
    server = serve_http(max_held_bytes=2048 * MIB)
    slow = [connect(server, head(f"Content-Length: {64 * MIB}"), bytes(1000)) for _ in range(33)]
    until(lambda: server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 33_000)
    for _ in range(3):
        for client in slow:
            client.socket.sendall(bytes(1000))
        assert scores_still(server)


def test_the_limit_of_open_files_is_raised():
    code = (
        "import resource, logging; from xraytransfer.serve.web.connections import raise_open_files;"
        "logging.basicConfig(); resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300));"
        "raise_open_files(200); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0]);"
        "raise_open_files(400); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["200", "300"]
    assert "at most 300 files may be open" in done.stderr


def large_picture() -> bytes:
    """Return a PNG of a megabyte: more than the server reads at once."""
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 250, (1024, 1024), np.uint8)
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


@pytest.mark.parametrize("piece", [1 << 24, 50_000])
def test_requests_that_follow_a_large_body_on_its_connection(server, connect, piece):
    film = large_picture()
    requests = b"".join(
        [head(f"Content-Length: {len(film)}").replace("\n", "\r\n").encode() + film] * 2
        + [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]
    )
    client = connect(server, "")
    for start in range(0, len(requests), piece):
        client.socket.sendall(requests[start : start + piece])
    answers = b""
    while chunk := client.socket.recv(1 << 16):
        answers += chunk
    assert answers.count(b"HTTP/1.1 200") == 3
    assert answers.endswith(b'{"alive":true}')
    first, second = (part.partition(b"\r\n\r\n")[2] for part in answers.split(b"HTTP/1.1 ")[1:3])
    assert first == second
    until(lambda: server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 0)


def test_a_large_body_that_stops_half_way(serve_http, connect):
    server = serve_http(idle_timeout_s=0.5)
    film = large_picture()
    client = connect(server, head(f"Content-Length: {len(film)}"), film[:600_000])
    status, problem = client.answer()
    assert (status, problem["reason"]) == (408, "slow-upload")
    assert client.ended(), "the rest of the body is not waited for"
    left = connect(server, head(f"Content-Length: {len(film)}"), film[:600_000])
    until(lambda: server.metrics.registry.get_sample_value("xraytransfer_held_bytes") > 0)
    left.socket.close()
    until(lambda: server.metrics.registry.get_sample_value("xraytransfer_held_bytes") == 0)
    assert scores_still(server)


def test_a_client_that_takes_no_answer(serve_http, connect):
    server = serve_http(idle_timeout_s=0.3)
    film = large_picture()
    path = "POST /v1/predict?map=all&picture=4096 HTTP/1.1\nHost: localhost\nContent-Type: image/png\n"
    client = connect(server, path + f"Content-Length: {len(film)}\n\n", film)
    until(lambda: server.engine.last_scored > 0 and server.engine.depth == 0)
    until(lambda: not server.http.connections)
    client.ended()


def test_a_client_that_asks_first_is_answered_at_once(serve_http, connect):
    server = serve_http(queue_size=2)
    film = picture()
    asking = head(f"Content-Length: {len(film)}", extra="Expect: 100-continue\n")
    client = connect(server, asking)
    assert client.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.socket.sendall(film)
    assert client.answer()[0] == 200
    gate = Gate(server.engine)
    client = connect(server, asking)
    assert client.answer()[0] == 503
    assert client.ended()
    gate.open()


@pytest.mark.parametrize("kind", ["text/plain", "image/png"])
def test_an_early_answer_is_not_lost_when_the_connection_is_to_end(serve_http, connect, kind):
    server = serve_http(queue_size=2)
    gate = Gate(server.engine)
    film = large_picture() * 20
    client = connect(server, head(f"Content-Length: {len(film)}", kind, "Connection: close\n"))
    client.socket.sendall(film)
    status, problem = client.answer()
    assert (status, problem["reason"]) in ((415, "unsupported-media-type"), (503, "busy"))
    assert client.ended()
    gate.open()
