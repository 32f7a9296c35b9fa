"""The model's quality gate over HTTP: refusals with their reason, scoring when told, readiness."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")

PNG = {"content-type": "image/png"}


def picture(level: int) -> bytes:
    grey = np.random.default_rng(level).normal(level, 3, (64, 48)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module", params=[1, 4], ids=["one by one", "in batches"])
def url(request, serve_http, gated_model):
    return serve_http(model=str(gated_model), batch_size=request.param).url


def test_a_film_that_the_model_refuses_is_a_problem_with_its_reason(url):
    answer = httpx.post(f"{url}/v1/predict", content=picture(220), headers=PNG)
    assert answer.status_code == 422
    assert answer.json()["reason"] == "inverted"
    assert answer.json()["detail"].endswith("invert them and score it again")
    assert answer.json()["overruled_by"] == "any_film=true"


def test_it_is_scored_when_told_and_says_so(url):
    answer = httpx.post(f"{url}/v1/predict?any_film=true", content=picture(220), headers=PNG)
    assert answer.status_code == 200
    assert answer.json()["acceptance"]["accepted"] is False
    good = httpx.post(f"{url}/v1/predict", content=picture(60), headers=PNG)
    assert good.json()["acceptance"]["accepted"] is True


def test_in_a_request_of_many_the_others_are_scored(url):
    files = [("film", (f"{level}.png", picture(level), "image/png")) for level in (60, 220, 70)]
    results = httpx.post(f"{url}/v1/predict", files=files).json()["results"]
    assert [row["status"] for row in results] == [200, 422, 200]
    assert results[1]["reason"] == "inverted"


def test_a_wrong_word_is_refused(url):
    answer = httpx.post(f"{url}/v1/predict?any_film=yes", content=picture(60), headers=PNG)
    assert answer.status_code == 400
    assert "any_film" in answer.json()["detail"]


def test_the_drawn_film_of_readiness_need_not_please_the_quality_gate(serve_http, toy_model_writer, tmp_path):
    from xraytransfer.quality_gate import KINDS

    rule = {"kinds": list(KINDS), "minimum_probability": 0.5, "maximum_distance": 0.0}
    toy_model_writer(tmp_path / "refuses-all.onnx", quality_gate=True, acceptance=rule)
    server = serve_http(model=str(tmp_path / "refuses-all.onnx"))
    ready = httpx.get(f"{server.url}/readyz")
    assert ready.status_code == 200
    assert ready.json()["ready"] is True
    assert httpx.post(f"{server.url}/v1/predict", content=picture(60), headers=PNG).json()["reason"] == "not-accepted"
