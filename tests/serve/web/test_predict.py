"""Scoring over HTTP: one film, many films, maps, reports; answers that keep the published schemas."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("httpx")

import httpx

from xraytransfer import OBSERVATIONS, load
from xraytransfer.serve.web.readiness import phantom

PATIENCE = 30
PNG = {"Content-Type": "image/png"}
DICOM = {"Content-Type": "application/dicom"}


def picture(seed: int = 0, form: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 200, (72, 64), np.uint8) + np.uint8(10 * (seed % 5))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


@pytest.fixture(scope="module")
def client(serve_http):
    with httpx.Client(base_url=serve_http().url, timeout=PATIENCE) as client:
        yield client


def validate(document: object, name: str, client) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    openapi = client.get("/openapi.json").json()
    jsonschema.Draft202012Validator({**openapi, "$ref": f"#/components/schemas/{name}"}).validate(document)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(phantom(), "application/dicom"), (picture(), "image/png"), (picture(form="JPEG"), "image/jpeg")],
    ids=["dicom", "png", "jpeg"],
)
def test_one_film_is_answered_as_the_library_answers(client, toy_model, data, kind):
    response = client.post("/v1/predict", content=data, headers={"Content-Type": kind})
    assert response.status_code == 200
    assert response.json() == json.loads(json.dumps(load(toy_model, device="cpu", threads=1).predict(data).to_dict()))
    validate(response.json(), "Prediction", client)


def test_media_types_may_carry_parameters(client):
    response = client.post("/v1/predict", content=picture(), headers={"Content-Type": "Image/PNG; a=b"})
    assert response.status_code == 200


def test_a_real_film_and_its_report(client, sample_film):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    data = sample_film("RG1_UNCR").read_bytes()
    answer = client.post("/v1/predict", content=data, headers=DICOM).json()
    assert answer["radiograph"]["inverted"]
    response = client.post("/v1/sr", content=data, headers=DICOM)
    assert response.headers["content-type"] == "application/dicom"
    report, film = pydicom.dcmread(io.BytesIO(response.content)), pydicom.dcmread(io.BytesIO(data))
    assert report.Modality == "SR"
    assert report.StudyInstanceUID == film.StudyInstanceUID


def test_a_film_that_no_report_can_refer_to(client, caplog):
    pytest.importorskip("highdicom")
    response = client.post("/v1/sr?any_film=true", content=phantom(), headers=DICOM)  # it has no StudyInstanceUID
    assert response.status_code == 422
    assert response.json()["reason"] == "no-report"
    assert "the film's StudyInstanceUID is absent" in response.json()["detail"]
    assert "unexpected" not in caplog.text


def test_many_films_keep_their_order_and_a_refused_one_stops_none(client):
    films = [picture(seed) for seed in range(12)]
    films[5] = b"no film"
    parts = [("film", (f"Doe^Jane {i}.png", data, "application/octet-stream")) for i, data in enumerate(films)]
    response = client.post("/v1/predict", files=parts)
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result["index"] for result in results] == list(range(12))
    assert [result["status"] for result in results] == [200] * 5 + [415] + [200] * 6
    assert results[5]["reason"] == "unsupported-format"
    assert "Doe" not in response.text
    for i in (0, 4, 6, 11):
        alone = client.post("/v1/predict", content=films[i], headers=PNG).json()
        assert results[i]["observations"] == alone["observations"]
    validate(response.json(), "Predictions", client)


def test_more_films_than_places_in_one_request(serve_http):
    server = serve_http(queue_size=3)
    parts = [("film", (f"{i}", picture(i), "image/png")) for i in range(20)]
    results = httpx.post(f"{server.url}/v1/predict", files=parts, timeout=PATIENCE).json()["results"]
    assert [result["status"] for result in results] == [200] * 20


def test_a_part_that_is_not_what_it_says(client):
    parts = [
        ("film", ("a", picture(), "image/jpeg")),
        ("film", ("b", picture(), "text/plain")),
        ("film", ("c", b"", "image/png")),
        ("film", ("d", picture(), "image/png")),
    ]
    results = client.post("/v1/predict", files=parts).json()["results"]
    assert [result["status"] for result in results] == [415, 415, 415, 200]


def test_maps_and_picture(client):
    query = {"map": "edema,values", "picture": "64"}
    answer = client.post("/v1/predict", params=query, content=phantom(), headers=DICOM).json()
    assert list(answer["maps"]) == ["edema"]
    overlay = Image.open(io.BytesIO(base64.b64decode(answer["maps"]["edema"])))
    assert (overlay.mode, overlay.size) == ("RGB", (512, 512))
    film = Image.open(io.BytesIO(base64.b64decode(answer["picture"]["png"])))
    assert (film.mode, film.size) == ("L", (64, 64))
    assert (answer["picture"]["rows"], answer["picture"]["columns"]) == (512, 512)
    assert list(answer["activation_map"]) == [observation.identifier for observation in OBSERVATIONS]
    assert np.shape(answer["activation_map"]["edema"]) == (30, 30)
    validate(answer, "Prediction", client)
    everything = client.post("/v1/predict?map=all", content=phantom(), headers=DICOM).json()
    assert len(everything["maps"]) == 6


@pytest.mark.parametrize("query", ["map=lungs", "picture=9", "picture=x", "any_modality=1", "colour=red"])
def test_what_a_query_may_hold(client, query):
    response = client.post(f"/v1/predict?{query}", content=picture(), headers=PNG)
    assert response.status_code == 400
    assert response.json()["reason"] == "bad-request"


def test_a_film_that_is_none_by_its_header_can_be_asked_for(client, shared_data):
    data = (shared_data / "dicom" / "nih-3-modality-ct-header.dcm").read_bytes()
    response = client.post("/v1/predict", content=data, headers=DICOM)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["reason"] == "not-a-radiograph"
    assert response.json()["type"] == "/reference#not-a-radiograph"
    assert response.json()["overruled_by"] == "any_modality=true"
    assert "any" not in response.json()["detail"]
    assert "<bytes>" not in response.text
    validate(response.json(), "Problem", client)
    assert client.post("/v1/predict?any_modality=True", content=data, headers=DICOM).status_code == 200


@pytest.mark.parametrize(
    ("kind", "data", "status", "reason"),
    [
        (None, picture(), 415, "unsupported-media-type"),
        ("text/plain", picture(), 415, "unsupported-media-type"),
        ("application/octet-stream", phantom(), 415, "unsupported-media-type"),
        ("application/x-www-form-urlencoded", b"a=b", 415, "unsupported-media-type"),
        ("image/jpeg", picture(), 415, "unsupported-media-type"),
        ("image/png", phantom(), 415, "unsupported-media-type"),
        ("application/dicom", picture(), 415, "unsupported-media-type"),
        ("application/dicom", b"", 400, "empty-body"),
        ("application/dicom", phantom()[:-1], 422, "truncated-pixels"),
        ("image/png", picture()[:300], 422, "truncated-pixels"),
        ("multipart/form-data", b"", 400, "bad-multipart"),
    ],
)
def test_wrong_bodies(client, kind, data, status, reason):
    response = client.post("/v1/predict", content=data, headers={"Content-Type": kind} if kind else {})
    assert (response.status_code, response.json()["reason"]) == (status, reason)


def test_a_wrong_type_is_told_what_the_body_is(client):
    response = client.post("/v1/predict", content=phantom(), headers=PNG)
    assert "but the body is application/dicom: name what it is" in response.json()["detail"]
    response = client.post("/v1/predict", content=b"no film at all", headers=PNG)
    assert "but the body begins like no such file" in response.json()["detail"]


def test_a_report_needs_dicom(client):
    response = client.post("/v1/sr", content=picture(), headers=PNG)
    assert (response.status_code, response.json()["reason"]) == (415, "unsupported-media-type")


def test_connections_are_kept_after_refusals(serve_http):
    server = serve_http()
    with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        for _ in range(3):
            assert client.post("/v1/predict", content=b"x" * 300_000, headers=DICOM).status_code == 415
            assert client.post("/v1/predict", content=picture(), headers=PNG).status_code == 200
        assert len(server.http.connections) == 1


def test_a_refused_film_carries_its_record(serve_http, gated_model):
    from PIL import Image

    bright = np.full((64, 50), 250, np.uint8)
    bright[::2, ::2] = 255
    buffer = io.BytesIO()
    Image.fromarray(bright).save(buffer, "PNG")
    url = serve_http(model=gated_model).url
    answer = httpx.post(f"{url}/v1/predict", content=buffer.getvalue(), headers={"Content-Type": "image/png"})
    assert answer.status_code == 422
    document = answer.json()
    assert document["radiograph"]["window"] == "full-range"
    assert document["acceptance"]["kind_probability"]["inverted"] > 0.5
    many = httpx.post(f"{url}/v1/predict", files=[("film", ("a.png", buffer.getvalue(), "image/png"))])
    assert many.json()["results"][0]["radiograph"]["window"] == "full-range"


def test_reduced_decoding_is_asked_for(serve_http, toy_model):
    from PIL import Image

    level = (np.mgrid[0:2000, 0:1600][0] / 8).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(level).save(buffer, "JPEG", quality=95)
    url = serve_http().url

    def reduction(query: str) -> int:
        headers = {"Content-Type": "image/jpeg"}
        answer = httpx.post(f"{url}/v1/predict?{query}", content=buffer.getvalue(), headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["radiograph"]["reduction"]

    assert reduction("") == reduction("decode=full") == reduction("decode=reduced&picture=64") == 1
    assert reduction("decode=reduced") > 1
    wrong = httpx.post(f"{url}/v1/predict?decode=half", content=b"x", headers={"Content-Type": "image/jpeg"})
    assert wrong.status_code == 400
