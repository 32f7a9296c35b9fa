"""Who may call, from where, and what an answer carries; TLS; options that would be unsafe are refused."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")

import httpx

from xraytransfer.errors import ServeError
from xraytransfer.serve.settings import Settings
from xraytransfer.serve.web.readiness import phantom

TOKEN = "correct-horse-battery"
DICOM = {"Content-Type": "application/dicom"}
ASKED = [("POST", "/v1/predict"), ("POST", "/v1/sr"), ("GET", "/v1/model"), ("GET", "/metrics")]
OPEN = [
    "/",
    "/page.css",
    "/page.js",
    "/client.js",
    "/icon.svg",
    "/reference",
    "/openapi.json",
    "/healthz",
    "/readyz",
]


@pytest.fixture(scope="module")
def server(serve_http):
    return serve_http()


@pytest.fixture(scope="module")
def closed_server(serve_http):
    return serve_http(token=TOKEN)


@pytest.mark.parametrize(("method", "path"), ASKED)
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xe9".encode("latin-1")],
)
def test_a_wrong_token_opens_nothing(closed_server, method, path, authorization):
    headers = {} if authorization is None else {"Authorization": authorization}
    response = httpx.request(method, closed_server.url + path, headers=headers)
    assert (response.status_code, response.json()["reason"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert closed_server.engine.depth == 0


def test_the_right_token_opens_and_the_rest_is_open(closed_server):
    with httpx.Client(base_url=closed_server.url, timeout=20) as client:
        for path in OPEN:
            assert client.get(path).status_code == 200, path
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert client.get("/v1/model").status_code == 200
        assert client.post("/v1/predict", content=phantom(), headers=DICOM).status_code == 200
    assert TOKEN not in repr(Settings(token=TOKEN))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "",
        "127.0.0.1:80@evil.example",
        "evil.example@127.0.0.1",
        "127.0.0.1/x",
        "127.0.0.1:x",
    ],
)
def test_a_page_cannot_rebind_its_name_to_loopback(server, host):
    response = httpx.get(f"{server.url}/v1/model", headers={"Host": host})
    assert (response.status_code, response.json()["reason"]) == (421, "wrong-host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:80", "[::1]"])
def test_loopback_has_several_names(server, host):
    assert httpx.get(f"{server.url}/v1/model", headers={"Host": host}).status_code == 200


def test_allowed_hosts(serve_http):
    server = serve_http(allowed_hosts=("films.example",))
    assert httpx.get(f"{server.url}/v1/model", headers={"Host": "films.example"}).status_code == 200
    assert httpx.get(f"{server.url}/v1/model").status_code == 421
    for probe in ("/healthz", "/readyz"):  # load balancers and containers ask by address
        assert httpx.get(f"{server.url}{probe}").status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://"])
def test_pages_of_other_origins_may_not_call(server, origin):
    headers = {**DICOM, "Origin": origin}
    response = httpx.post(f"{server.url}/v1/predict", content=phantom(), headers=headers)
    assert (response.status_code, response.json()["reason"]) == (403, "cross-origin")
    assert not any(name.startswith("access-control") for name in response.headers)
    preflight = httpx.options(
        f"{server.url}/v1/predict", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
    )
    assert preflight.status_code == 403


def test_the_own_page_and_named_origins_may_call(serve_http):
    server = serve_http(cors_origins=("https://viewer.example",), token=TOKEN)
    headers = {**DICOM, "Origin": server.url, "Authorization": f"Bearer {TOKEN}"}
    assert httpx.post(f"{server.url}/v1/predict", content=phantom(), headers=headers).status_code == 200
    headers["Origin"] = "https://viewer.example"
    response = httpx.post(f"{server.url}/v1/predict", content=phantom(), headers=headers)
    assert response.headers["access-control-allow-origin"] == "https://viewer.example"
    asking = {"Origin": "https://viewer.example", "Access-Control-Request-Method": "POST"}
    assert httpx.options(f"{server.url}/v1/predict", headers=asking).status_code == 200


@pytest.mark.parametrize(
    ("option", "name", "right"),
    [
        ("allowed_hosts", "films.example:8000", False),
        ("allowed_hosts", "https://films.example", False),
        ("allowed_hosts", "films.example/", False),
        ("allowed_hosts", "::1", False),
        ("allowed_hosts", "", False),
        ("allowed_hosts", "Films.example", True),
        ("allowed_hosts", "[::1]", True),
        ("allowed_hosts", "*", True),
        ("cors_origins", "https://viewer.example/", False),
        ("cors_origins", "https://Viewer.example", False),
        ("cors_origins", "https://viewer.example:443", False),
        ("cors_origins", "http://viewer.example:80", False),
        ("cors_origins", "viewer.example", False),
        ("cors_origins", "*", False),
        ("cors_origins", "https://viewer.example:4430", True),
        ("cors_origins", "http://localhost:443", True),
        ("cors_origins", "capacitor://localhost", True),
        ("cors_origins", "file://", True),
        ("cors_origins", "null", True),
    ],
)
def test_names_that_no_request_can_carry_are_refused(option, name, right):
    if right:
        Settings(**{option: (name,)})
        return
    with pytest.raises(ServeError, match=re.escape(repr(name))):
        Settings(**{option: (name,)})


@pytest.mark.parametrize("path", ["/", "/v1/model", "/nowhere", "/healthz", "/page.js"])
def test_every_answer_carries_the_headers(server, path):
    response = httpx.get(server.url + path)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert "server" not in response.headers


@pytest.mark.parametrize(("method", "path", "reason"), [
    ("GET", "/nowhere", "unknown-path"), ("GET", "/v1/predict", "method-not-allowed"),
    ("DELETE", "/", "method-not-allowed"),
    ("GET", "/../settings.py", "unknown-path"), ("GET", "/%2e%2e/settings.py", "unknown-path"),
])  # fmt: skip
def test_other_paths_and_methods(server, method, path, reason):
    response = httpx.request(method, server.url + path)
    assert response.json()["reason"] == reason
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"host": "0.0.0.0"}, "can be reached from other machines"),
        ({"host": "::"}, "can be reached from other machines"),
        ({"host": "films.example"}, "can be reached from other machines"),
        ({"token": "short"}, "too weak"),
        ({"tls_key": Path("k.pem")}, "both a certificate and a key"),
        ({"port": 70000}, "port"),
        ({"queue_size": 0}, "queue_size"),
        ({"workers": 0}, "workers"),
    ],
)
def test_unsafe_or_impossible_settings_are_refused(options, complaint):
    with pytest.raises(ServeError, match=complaint):
        Settings(**options)


def test_settings_that_are_safe_beyond_loopback():
    assert Settings(host="0.0.0.0", token=TOKEN).hosts == ("*",)
    assert Settings(host="0.0.0.0", insecure=True).token is None
    assert Settings(host="::1").on_loopback


def test_tls(serve_http, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    server = serve_http(tls_certificate=certificate, tls_key=key)
    context = ssl.create_default_context(cafile=str(certificate))
    url = f"https://localhost:{server.port}"
    response = httpx.post(f"{url}/v1/predict", content=phantom(), headers=DICOM, verify=context, timeout=20)
    assert response.status_code == 200
    assert "strict-transport-security" in response.headers
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://localhost:{server.port}/healthz", timeout=5)
