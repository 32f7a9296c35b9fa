"""The quality gate: the films it learns from, its distance, its training, resuming and refusals."""

from __future__ import annotations

import json
from contextlib import contextmanager

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

timm = pytest.importorskip("timm")

import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from xraytransfer.errors import StudyError  # noqa: E402
from xraytransfer.quality_gate import KINDS  # noqa: E402
from xraytransfer.study.cli import study  # noqa: E402
from xraytransfer.study.networks.architectures import find_architecture  # noqa: E402
from xraytransfer.study.quality_gate import evaluation, films, training  # noqa: E402
from xraytransfer.study.quality_gate.appearance import APPEARANCES  # noqa: E402
from xraytransfer.study.quality_gate.faults import DRAWN_LATERAL, FAULTS  # noqa: E402
from xraytransfer.study.quality_gate.films import KIND_SHARES, FilmMaker, read_others  # noqa: E402
from xraytransfer.study.quality_gate.network import empty_quality_gate, load_quality_gate  # noqa: E402
from xraytransfer.study.quality_gate.settings import QualityGateSettings  # noqa: E402
from xraytransfer.study.quality_gate.training import quality_gate_config, train_quality_gate  # noqa: E402
from xraytransfer.study.runs.grid import Grid  # noqa: E402
from xraytransfer.study.training.interrupts import Interrupted  # noqa: E402

ROW = find_architecture("toy_resnet")
SETTINGS = QualityGateSettings(architecture="toy_resnet", truncation=1, side=48, steps=4)


@pytest.fixture(autouse=True)
def few_films(monkeypatch):
    """Draw dozens of films instead of thousands."""
    monkeypatch.setattr(evaluation, "EVALUATED", 6)
    monkeypatch.setattr(training, "FEATURE_FILMS", 80)


@pytest.fixture(scope="module")
def maker() -> FilmMaker:
    rng = np.random.default_rng(0)
    ramp = np.linspace(20, 220, 64)
    made = (ramp[:, None] * 0.6 + ramp[None, :] * 0.3 + rng.normal(0, 4, (6, 64, 64))).clip(0, 255)
    return FilmMaker(made.astype(np.uint8), np.arange(5), 48, {"photograph": [made[5].astype(np.uint8)]})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "toy_resnet.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


@pytest.fixture(scope="module")
def config(made_up_films, tmp_path_factory: pytest.TempPathFactory):
    results = tmp_path_factory.mktemp("gate-data")
    return quality_gate_config(Grid(results=results, data="nih", folder=made_up_films, architectures=(), resolution=64))


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("others")
    for kind in ("photograph", "texture"):
        (folder / kind).mkdir()
        grey = np.random.default_rng(len(kind)).integers(0, 256, (80, 60), dtype=np.uint8)
        Image.fromarray(grey).save(folder / kind / "one.png")
    return folder


@pytest.fixture(scope="module")
def further(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("further")
    rng = np.random.default_rng(9)
    for place, films_of_patient in (
        ("train/lateral/one-ct/1", 3),
        *((f"limits/frontal/hospital/{patient}", 2) for patient in range(4)),
        *((f"judge/lateral/side-views/{patient}", 1) for patient in range(2)),
    ):
        (folder / place).mkdir(parents=True)
        for number in range(films_of_patient):
            Image.fromarray(rng.integers(0, 256, (80, 60), dtype=np.uint8)).save(folder / place / f"{number}.png")
    return folder


def test_shares_of_kinds_are_those_of_a_whole():
    assert list(KIND_SHARES) == list(KINDS)
    assert sum(KIND_SHARES.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_a_film_and_says_what_it_is(maker, kind):
    film, target, mirrored = maker.draw(np.random.default_rng(3), kind)
    assert (film.dtype, film.shape) == (np.uint8, (48, 48))
    assert target.sum() == pytest.approx(1)
    assert target[list(KINDS).index(kind)] >= 0.5
    assert (mirrored in (0, 1)) == (kind == "upright")


@pytest.mark.parametrize("name", [*FAULTS, "photograph"])
def test_each_fault_changes_a_film_and_is_the_same_for_the_same_seed(maker, name):
    one, again = (maker.faulty(name, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert one.dtype == np.uint8
    assert np.ptp(maker.faulty(name, np.random.default_rng(6))) > 0


@pytest.mark.parametrize(
    ("kind", "quarters"), [("turned-counterclockwise", 1), ("upside-down", 2), ("turned-clockwise", 3)]
)
def test_a_turned_film_is_the_upright_one_turned(maker, kind, quarters):
    upright = maker.draw(np.random.default_rng(8), "upright").film
    turned = maker.draw(np.random.default_rng(8), kind).film
    assert np.abs(np.rot90(upright, quarters).astype(int) - turned).max() <= 1


def test_an_inverted_film_is_the_upright_one_inverted(maker):
    seed = next(s for s in range(50) if maker.draw(np.random.default_rng(s), "inverted").target.max() == 1)
    upright = maker.draw(np.random.default_rng(seed), "upright").film
    inverted = maker.draw(np.random.default_rng(seed), "inverted").film
    # each of two resizes rounds by itself
    assert np.abs(255 - upright.astype(int) - inverted).max() <= 2


def test_a_mirrored_film_is_drawn_from_the_mirrored_one(maker, monkeypatch):
    monkeypatch.setattr(films, "move", lambda film, generator, **_: film)
    monkeypatch.setattr(films, "vary_appearance", lambda film, generator: film)
    one = FilmMaker(maker.films, np.array([2]), 64)
    drawn = [one.draw(np.random.default_rng(seed), "upright") for seed in range(40)]
    assert {film.mirrored for film in drawn} == {0, 1}
    for film in drawn:
        np.testing.assert_array_equal(film.film[:, ::-1] if film.mirrored else film.film, maker.films[2])


@pytest.mark.parametrize("name", APPEARANCES)
def test_each_appearance_changes_a_film_and_keeps_its_shape(name):
    ramp = np.linspace(20, 220, 96).astype(np.uint8)
    film = np.ascontiguousarray(np.broadcast_to(ramp, (64, 96)))
    one, again = (APPEARANCES[name](film, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert (one.dtype, one.shape) == (np.uint8, film.shape)
    changed = [APPEARANCES[name](film, np.random.default_rng(seed)) for seed in range(5)]
    assert any(not np.array_equal(other, film) for other in changed)


def test_side_views_of_further_sources_are_drawn_as_other(maker):
    white = np.full((64, 64), 255, np.uint8)
    one = FilmMaker(maker.films, maker.rows, 48, maker.others, [], [white], left_out=DRAWN_LATERAL)
    rng = np.random.default_rng(0)
    drawn = [one.draw(rng, "other").film for _ in range(60)]
    bright = sum(np.median(film) > 150 for film in drawn)
    assert bright >= 0.2 * len(drawn)
    assert len({one.draw(np.random.default_rng(seed), "other").film.tobytes() for seed in (1, 1)}) == 1


def test_what_is_left_out_is_never_drawn(maker):
    without = FilmMaker(maker.films, maker.rows, 48, maker.others, left_out="photograph")
    assert "photograph" in maker.faults
    assert "photograph" not in without.faults
    assert set(FAULTS) <= set(without.faults)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "expected one folder for each kind"),
        (lambda folder: (folder / "photograph").mkdir(), "holds no pictures"),
        (lambda folder: (folder / "noise").mkdir(), "stands for films that are made"),
        (
            lambda folder: ((folder / "text").mkdir(), (folder / "text" / "a.png").write_text("no picture")),
            "a picture of text cannot be read",
        ),
    ],
)
def test_pictures_that_cannot_be_used_are_refused(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(StudyError, match=message):
        read_others(tmp_path)


def test_a_usual_film_lies_at_distance_one_and_a_strange_one_far():
    torch.manual_seed(1)
    gate = empty_quality_gate(ROW, 1, 48).eval()
    channels = gate.network.head.in_features
    mixing = torch.randn(channels, channels)
    features = torch.randn(3000, channels) @ mixing + 5
    gate.fit_distance(features, shrinkage=0.0)
    gate.features = lambda x: x  # the distance alone
    with torch.no_grad():
        near = gate(features)[1]
        far = gate(features + 30)[1]
    assert float(near.square().mean()) == pytest.approx(1, abs=0.02)
    assert float(far.min()) > float(near.max())


def test_training_ends_with_a_quality_gate_its_limits_and_what_it_misses(tmp_path, config, others, further, weights):
    lines: list[str] = []
    document = train_quality_gate(
        tmp_path, config, others, SETTINGS, unseen=others, films=further, weights=weights, log=lines.append
    )
    gate, stored = load_quality_gate(tmp_path)
    assert stored == document
    assert document["kinds"] == list(KINDS)
    assert 0.05 <= document["minimum_probability"] <= 0.5
    assert 0.5 <= document["minimum_mirrored_probability"] < 1
    assert {(row["name"], row["use"], row["patients"]) for row in document["sources"]} == {
        ("one-ct", "train", 1),
        ("hospital", "limits", 4),
        ("side-views", "judge", 2),
    }
    assert document["pictures"] == {"photograph": 1, "texture": 1}
    whole = document["evaluation"][0]
    assert whole["what"] == "test films as they are"
    assert whole["films"] == document["split"]["test"]["images"]
    named = {row["what"] for row in document["evaluation"]}
    assert {*FAULTS, "photograph", "texture", "never seen: texture", "hospital", "side-views"} <= named
    assert "one-ct" not in named, "what is trained on judges nothing"
    rows = {row["what"]: row for row in document["evaluation"]}
    assert (rows["hospital"]["kind"], rows["hospital"]["films"], rows["hospital"]["patients"]) == ("upright", 8, 4)
    assert (rows["side-views"]["kind"], rows["side-views"]["origin"]) == ("other", "real")
    assert all(0 <= row["lower"] <= row["accepted"] / row["films"] <= row["upper"] <= 1 for row in rows.values())
    assert all(0 <= row["accepted"] <= row["films"] for row in document["evaluation"])
    assert not gate.training
    assert any("step 4/4" in line for line in lines)
    # done: nothing is trained again
    again = train_quality_gate(tmp_path, config, others, SETTINGS, films=further, weights=weights, log=lines.append)
    assert again == document
    with pytest.raises(StudyError, match="has learned from other films"):
        train_quality_gate(tmp_path, config, others, SETTINGS, weights=weights, log=lines.append)


def test_interrupted_and_resumed_it_is_the_same_gate(tmp_path, config, others, weights, monkeypatch):
    left = train_quality_gate(tmp_path / "whole", config, others, SETTINGS, weights=weights, log=lambda _: None)

    @contextmanager
    def soon():
        count = iter(range(9))

        def stop():
            if next(count) == 2:
                raise Interrupted

        yield stop

    with monkeypatch.context() as patch:
        patch.setattr(training, "stoppable", soon)
        with pytest.raises(Interrupted):
            train_quality_gate(tmp_path / "parts", config, others, SETTINGS, weights=weights, log=lambda _: None)
    assert json.loads((tmp_path / "parts" / "last" / "state.json").read_text())["step"] == 2
    other = QualityGateSettings(**{**vars(SETTINGS), "steps": 9})
    with pytest.raises(StudyError, match="started with other settings"):
        train_quality_gate(tmp_path / "parts", config, others, other, weights=weights, log=lambda _: None)
    resumed = train_quality_gate(tmp_path / "parts", config, others, SETTINGS, weights=weights, log=lambda _: None)
    assert resumed["sha256"] == left["sha256"]
    assert resumed["evaluation"] == left["evaluation"]


def test_settings_that_make_no_sense_are_refused(tmp_path, config, others, weights):
    with pytest.raises(StudyError, match="'ghost' is none of"):
        train_quality_gate(
            tmp_path / "a",
            config,
            others,
            QualityGateSettings(left_out="ghost"),
            weights=weights,
            log=lambda _: None,
        )
    with pytest.raises(StudyError, match="no quality gate"):
        load_quality_gate(tmp_path)
    with pytest.raises(StudyError, match="cut at least one stage"):
        empty_quality_gate(find_architecture("mobilenetv3_large_100"), 0, 64)


def test_a_damaged_gate_is_named(tmp_path, config, others, weights):
    train_quality_gate(tmp_path, config, others, SETTINGS, weights=weights, log=lambda _: None)
    stored = json.loads((tmp_path / "judge.json").read_text())
    del stored["minimum_mirrored_probability"]
    (tmp_path / "judge.json").write_text(json.dumps(stored))
    with pytest.raises(StudyError, match="an earlier version trained this quality gate"):
        load_quality_gate(tmp_path)
    (tmp_path / "judge.json").write_text(json.dumps({**stored, "minimum_mirrored_probability": 0.9}))
    (tmp_path / "judge.safetensors").write_bytes(b"nothing")
    with pytest.raises(StudyError, match=r"judge\.safetensors: damaged"):
        load_quality_gate(tmp_path)


def test_the_command_trains_and_its_old_name_says_that_it_is_deprecated(tmp_path, made_up_films, others, weights):
    options = ["--data", "nih", "--folder", str(made_up_films), "--others", str(others), "--out", str(tmp_path)]
    options += ["--resolution", "64", "--weights-dir", str(weights.parent), "--architecture", "toy_resnet"]
    options += ["--truncation", "1", "--side", "48", "--steps", "2", "--left-out", "texture"]
    new = CliRunner().invoke(study, ["quality-gate", *options], catch_exceptions=False)
    assert (new.exit_code, new.stderr) == (0, "")
    assert "texture: " in new.stdout
    assert load_quality_gate(tmp_path)[1]["settings"]["left_out"] == "texture"
    old = CliRunner().invoke(study, ["judge", *options], catch_exceptions=False)
    assert old.exit_code == 0
    assert new.stdout.endswith(old.stdout), "trained once: the second call prints the evaluation alone"
    assert len(old.stderr.splitlines()) == 1
    assert "Use `xraytransfer study quality-gate`" in old.stderr
    assert "judge" not in CliRunner().invoke(study, ["--help"]).output
