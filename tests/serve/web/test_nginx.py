"""The nginx example of docs/deploy.md in front of the server, as it stands in the document."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")

import httpx

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "deploy.md"
HOST = "films.example.org"
PATIENCE = 60

pytestmark = [pytest.mark.peer, pytest.mark.skipif(NGINX is None, reason="nginx is not installed")]


@pytest.fixture(scope="module")
def nginx(serve_http, tmp_path_factory) -> Iterator[int]:
    """Run the example around a server; only paths, ports and the length of time-outs are those of the test."""
    server = serve_http(allowed_hosts=(HOST,))
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={HOST}"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "chain.pem")]
    subprocess.run([*certificate, *files], check=True, capture_output=True)
    block = example()
    for old, new in {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/nginx/": f"{folder}/",
        "/dev/shm/xraytransfer-uploads": f"{folder}/uploads",
        "_timeout 10s": "_timeout 2s",
        "_timeout   10s": "_timeout 2s",
        "http://127.0.0.1:8760": server.url,
    }.items():
        assert old in block, f"the example in {DOCUMENT.name} has no {old}"
        block = block.replace(old, new)
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    user = f"user {getpass.getuser()};\n" if os.getuid() == 0 else ""  # else it could not read the test's folder
    frame = (
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{ worker_connections 4096; }}\n"
    )
    (folder / "nginx.conf").write_text(f"{frame}http {{\naccess_log off;\n{temporary}{block}\n}}\n")
    command = [str(NGINX), "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        until_open(process, port)
        yield port
        process.terminate()
        process.communicate()


def example() -> str:
    """Return the block of the document, without what would be another one."""
    (block,) = re.findall(r"```nginx\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return str(block)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until_open(process: subprocess.Popen[str], port: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[1]
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.05)
    raise TimeoutError("nginx does not listen")


def connect(port: int, text: bytes = b"") -> ssl.SSLSocket:
    client = context().wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE), server_hostname=HOST)
    client.sendall(text)
    return client


def context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # a certificate of this test
    return context


def ask(port: int, path: str, **options) -> httpx.Response:
    with httpx.Client(verify=context(), timeout=PATIENCE, headers={"Host": HOST}) as client:
        return client.request(url=f"https://127.0.0.1:{port}{path}", **{"method": "GET", **options})


def everything(client: ssl.SSLSocket) -> bytes:
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


def test_a_big_film_is_scored(nginx: int, dicom_film) -> None:
    stored = np.tile(np.arange(4000, dtype=np.uint16), (5000, 1))  # 40 MB
    answer = ask(
        nginx,
        "/v1/predict",
        method="POST",
        content=dicom_film(stored, StudyInstanceUID="1.2.1"),
        headers={"Content-Type": "application/dicom"},
    )
    assert (answer.status_code, answer.json()["ok"]) == (200, True)


def test_a_body_over_the_limit_is_refused_from_its_head(nginx: int) -> None:
    head = f"POST /v1/predict HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {2 << 30}\r\n\r\n"
    with connect(nginx, head.encode()) as client:
        assert client.recv(65536).startswith(b"HTTP/1.1 413")


def test_a_slow_head_is_ended(nginx: int) -> None:
    with connect(nginx, b"GET / HTTP/1.1\r\n") as client:
        started = time.monotonic()
        received = everything(client)
        assert time.monotonic() - started < 20
        assert not received or received.startswith(b"HTTP/1.1 408")


def test_a_slow_body_is_ended(nginx: int) -> None:
    head = f"POST /v1/predict HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
    with connect(nginx, head.encode() + b"x") as client:
        received = everything(client)
        assert not received or received.startswith(b"HTTP/1.1 408")


def test_a_thousand_idle_connections_keep_nobody_out(nginx: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", nginx), PATIENCE) for _ in range(1000)]
    try:
        started = time.monotonic()
        assert ask(nginx, "/healthz").status_code == 200
        assert ask(nginx, "/v1/model").status_code == 200
        assert time.monotonic() - started < 5
    finally:
        for client in idle:
            client.close()
