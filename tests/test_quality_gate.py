"""The quality gate, as the core reads it: limits, reasons, refusals, and the way through a classifier."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xraytransfer import Prediction, Refusal, load
from xraytransfer.errors import REASONS, ModelFileError, RadiographError
from xraytransfer.quality_gate import KINDS, MIRRORED_NOTE, QualityGateLimits

RULE = QualityGateLimits(tuple(KINDS), 0.4, 2.0)


def film(path: Path, level: int) -> Path:
    """Write a picture of about one grey level."""
    grey = np.random.default_rng(level).normal(level, 3, (64, 48))
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(path)
    return path


def test_every_kind_but_the_first_has_a_known_reason_and_a_cure() -> None:
    for kind, (reason, words) in list(KINDS.items())[1:]:
        assert reason in REASONS, kind
        assert words
    assert KINDS["upright"] == ("", "")


@pytest.mark.parametrize("kind", list(KINDS)[1:])
def test_the_most_probable_wrong_kind_is_named(kind: str) -> None:
    probability = np.full(len(KINDS), 0.02, np.float32)
    probability[list(KINDS).index(kind)] = 0.9
    result = RULE.evaluate(probability, 1.0)
    assert not result.accepted
    assert result.reason == KINDS[kind][0]
    error = result.refusal("scan.dcm")
    assert error is not None
    assert error.reason == KINDS[kind][0]
    assert str(error).startswith("scan.dcm: ")
    assert "any_film=True" in str(error)
    assert "any" not in error.message


@pytest.mark.parametrize(("upright", "distance", "accepted"), [(0.4, 2.0, True), (0.39, 1.0, False), (0.9, 2.1, False)])
def test_both_limits_are_kept_at_their_edges(upright: float, distance: float, accepted: bool) -> None:
    probability = np.array([upright, *[(1 - upright) / 5] * 5])
    result = RULE.evaluate(probability, distance)
    assert result.accepted is accepted
    assert (result.refusal("x") is None) is accepted


@pytest.mark.parametrize(("upright", "distance"), [(float("nan"), 1.0), (0.9, float("nan"))])
def test_an_answer_that_is_no_number_is_never_accepted(upright: float, distance: float) -> None:
    assert not RULE.evaluate(np.array([upright, *[0.02] * 5]), distance).accepted


@given(st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6), st.floats(0, 10))
def test_what_is_accepted_has_no_reason_and_what_is_refused_has_one(answer: list[float], distance: float) -> None:
    result = RULE.evaluate(np.array(answer, np.float32), distance)
    assert result.accepted is (result.reason is None) is (result.explanation is None)
    assert json.loads(json.dumps(result.to_dict()))["accepted"] is result.accepted


@pytest.mark.parametrize(
    "entry",
    [
        [],
        {"kinds": ["upright"], "minimum_probability": 0.5},
        {"kinds": ["other", "upright"], "minimum_probability": 0.5, "maximum_distance": 2},
        {"kinds": ["upright", "mirrored"], "minimum_probability": 0.5, "maximum_distance": 2},
        {"kinds": ["upright", "other"], "minimum_probability": "half", "maximum_distance": 2},
        {"kinds": ["upright", "other"], "minimum_probability": 0.5, "maximum_distance": -1},
        {"kinds": ["upright", "other"], "minimum_probability": True, "maximum_distance": 2},
        {
            "kinds": ["upright", "other"],
            "minimum_probability": 0.5,
            "maximum_distance": 2,
            "minimum_mirrored_probability": "often",
        },
    ],
)
def test_a_description_that_cannot_be_relied_on_is_refused(entry: Any) -> None:
    with pytest.raises(ModelFileError, match="acceptance"):
        QualityGateLimits.from_document({"acceptance": entry})


def test_a_model_without_a_quality_gate_accepts_everything(toy_model: Path, tmp_path: Path) -> None:
    prediction = load(toy_model, device="cpu").predict(film(tmp_path / "bright.png", 220))
    assert prediction.acceptance is None
    assert prediction.to_dict()["acceptance"] is None


def test_a_refused_film_raises_and_scores_only_when_forced(gated_model: Path, tmp_path: Path) -> None:
    classifier = load(gated_model, device="cpu")
    dark, bright = film(tmp_path / "dark.png", 60), film(tmp_path / "bright.png", 220)
    good = classifier.predict(dark)
    assert good.acceptance is not None
    assert good.acceptance.accepted
    with pytest.raises(RadiographError, match=r"bright\.png: the grey levels seem inverted") as caught:
        classifier.predict(bright)
    assert caught.value.reason == "inverted"
    forced = classifier.predict(bright, any_film=True)
    assert forced.acceptance is not None
    assert not forced.acceptance.accepted
    assert forced.to_dict()["acceptance"]["reason"] == "inverted"


@pytest.mark.parametrize("batch_size", [1, 3])
def test_in_a_batch_a_refusal_keeps_its_place(gated_model: Path, tmp_path: Path, batch_size: int) -> None:
    classifier = load(gated_model, device="cpu")
    paths = [str(film(tmp_path / f"{i}.png", level)) for i, level in enumerate((60, 220, 70, 245, 50))]
    outcomes = list(classifier.predict_many(paths, batch_size=batch_size))
    assert [type(outcome) for outcome in outcomes] == [Prediction, Refusal, Prediction, Refusal, Prediction]
    assert [outcome.source for outcome in outcomes] == paths
    assert {outcome.reason for outcome in outcomes if isinstance(outcome, Refusal)} == {"inverted"}
    forced = classifier.predict_many(paths, batch_size=batch_size, any_film=True)
    assert all(isinstance(outcome, Prediction) for outcome in forced)


def test_a_mirrored_film_is_noted_and_never_refused_for_it(
    toy_model_writer: Callable[..., None], tmp_path: Path
) -> None:
    rule = {"kinds": list(KINDS), "minimum_probability": 0.5, "maximum_distance": 2.0}
    rule["minimum_mirrored_probability"] = 0.3
    toy_model_writer(tmp_path / "tells.onnx", quality_gate=True, acceptance=rule)
    classifier = load(tmp_path / "tells.onnx", device="cpu")
    usual, mirrored = (classifier.predict(film(tmp_path / f"{level}.png", level)) for level in (60, 100))
    assert usual.acceptance is not None
    assert mirrored.acceptance is not None
    assert (usual.acceptance.mirrored, mirrored.acceptance.mirrored) == (False, True)
    assert MIRRORED_NOTE not in usual.radiograph["notes"]
    assert mirrored.radiograph["notes"][-1] == MIRRORED_NOTE
    assert mirrored.acceptance.accepted
    assert mirrored.to_dict()["acceptance"]["mirrored_probability"] >= 0.3
    with pytest.raises(RadiographError, match="inverted") as caught:
        classifier.predict(film(tmp_path / "bright.png", 220))
    assert caught.value.radiograph is not None
    assert MIRRORED_NOTE not in caught.value.radiograph["notes"]


def test_a_file_that_does_not_tell_mirrored_films_notes_none(gated_model: Path, tmp_path: Path) -> None:
    prediction = load(gated_model, device="cpu").predict(film(tmp_path / "grey.png", 120))
    assert prediction.acceptance is not None
    assert prediction.acceptance.mirrored_probability is None
    assert "mirrored_probability" not in prediction.to_dict()["acceptance"]
    assert MIRRORED_NOTE not in prediction.radiograph["notes"]


def test_a_far_film_is_refused_although_it_looks_upright(toy_model_writer: Callable[..., None], tmp_path: Path) -> None:
    rule = {"kinds": list(KINDS), "minimum_probability": 0.5, "maximum_distance": 0.1}
    toy_model_writer(tmp_path / "strict.onnx", quality_gate=True, acceptance=rule)
    with pytest.raises(RadiographError, match="unlike the films") as caught:
        load(tmp_path / "strict.onnx", device="cpu").predict(film(tmp_path / "grey.png", 90))
    assert caught.value.reason == "not-accepted"


def test_a_graph_that_lacks_its_quality_gate_is_refused_on_loading(
    toy_model_writer: Callable[..., None], tmp_path: Path
) -> None:
    rule = {"kinds": list(KINDS), "minimum_probability": 0.5, "maximum_distance": 2.0}
    toy_model_writer(tmp_path / "no-gate.onnx", acceptance=rule)
    with pytest.raises(ModelFileError, match="film_kind, its graph lacks it"):
        load(tmp_path / "no-gate.onnx", device="cpu")


def test_the_command_refuses_with_the_cure_and_scores_when_told(gated_model: Path, tmp_path: Path) -> None:
    bright = film(tmp_path / "bright.png", 220)
    command = [sys.executable, "-m", "xraytransfer", "predict", str(bright), "--model", str(gated_model)]
    command += ["--device", "cpu", "--format", "jsonl"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["reason"] == "inverted"
    assert "refused (inverted)" in refused.stderr
    page = "The page of `xraytransfer serve` has buttons that turn and invert a film"
    assert f"invert them and score it again. {page}. To score it anyway: --any-film" in refused.stderr
    assert "any_film" not in refused.stderr + refused.stdout
    forced = subprocess.run([*command, "--any-film"], capture_output=True, text=True, check=False)
    assert forced.returncode == 0
    assert json.loads(forced.stdout)["acceptance"]["accepted"] is False
