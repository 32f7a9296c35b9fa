"""Fixtures of the study: folders of runs that can be trained, and of runs that are finished."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def toy_run_placer(made_up_films: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function from changed settings and options of a grid to the folder of a toy run; all share a cache."""
    from xraytransfer.study.runs.grid import Grid
    from xraytransfer.study.runs.grid_runs import place_runs

    cache = tmp_path_factory.mktemp("cache")

    def place(changes: dict[str, Any], **options: Any) -> Path:
        defaults: dict[str, Any] = {
            "results": tmp_path_factory.mktemp("results"),
            "data": "nih",
            "folder": made_up_films,
            "cache": cache,
            "architectures": ("toy_efficientnet",),
            "initialisations": ("random",),
            "preset": "tiny",
            "fractions": (0.6, 0.2, 0.2),
        }
        return place_runs(Grid(**{**defaults, **options, "changes": changes}))[0]

    return place


@pytest.fixture(scope="session")
def write_study_run() -> Callable[..., Path]:
    """Return a function that writes a finished run, its predictions drawn with a given skill."""
    return _write_study_run


def _write_study_run(
    results: Path,
    architecture: str = "alpha1",
    *,
    family: str = "Alpha",
    initialisation: str = "pretrained",
    truncation: int = 0,
    seed: int = 0,
    skill: float = 1.0,
    parameters: int = 1_000_000,
    top1: float | None = 70.0,
    films: int = 240,
    positives: float = 0.3,
    soup: bool = True,
    **changes: Any,
) -> Path:
    """Write config.json, done.json, metrics.csv and predictions; `changes` replace entries of the config."""
    from xraytransfer.observations import OBSERVATIONS
    from xraytransfer.study.data.predictions import Predictions, write_predictions

    names = [one.identifier for one in OBSERVATIONS]
    film = np.random.default_rng(5)
    label = (film.random((films, 6)) < positives).astype(np.float32)
    ease = film.normal(0, 1, (films, 6))
    run = np.random.default_rng([seed, parameters, truncation, len(architecture), initialisation == "random"])
    logit = 2 * skill * label + ease + run.normal(0, 0.3, (films, 6)) - 1.5
    members = logit[:, None] + run.normal(0, 0.3, (films, 3, 6))
    folder = results / "runs" / f"{architecture}-{initialisation}-t{truncation}-s{seed}"
    predictions = Predictions(
        image=np.array([f"film{i:04d}.png" for i in range(films)]),
        patient=np.array([f"p{i // 2:04d}" for i in range(films)]),
        examination=np.array([f"e{i:04d}" for i in range(films)]),
        view=np.where(np.arange(films) % 3 == 0, "AP", "PA"),
        sex=np.where(np.arange(films) % 4 < 2, "F", "M"),
        age=np.full(films, 50, np.float32),
        observations=np.array(names),
        label=label,
        probability=(1 / (1 + np.exp(-members))).astype(np.float32),
        checkpoint_steps=np.array([30, 20, 10]),
        soup=(1 / (1 + np.exp(-members.mean(axis=1)))).astype(np.float32) if soup else None,
    )
    (folder / "predictions").mkdir(parents=True)
    write_predictions(folder / "predictions" / "test.npz", predictions)
    counts = {name: {"images": films, "patients": films // 2} for name in ("train", "validation", "test")}
    config = {
        "architecture": architecture,
        "timm": architecture,
        "family": family,
        "row": {"name": architecture, "timm": architecture, "family": family, "imagenet_top1": top1},
        "initialisation": initialisation,
        "truncation": truncation,
        "seed": seed,
        "outputs": names,
        "resolution": [64, 64],
        "preset": {"name": "tiny", "epochs": 2},
        "label_policy": "u_zeros",
        "data": {"name": "nih", "folder": "elsewhere", "refused": {}},
        "split": {"method": "patient-hash", **counts},
    } | changes
    done = {"parameters": parameters, "validation_auroc": {"macro": 0.5 + skill / 10}, "device": "cpu"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "done.json").write_text(json.dumps(done))
    rows = [f"{n},{n * 16},{0.5 + skill * 0.1 * (1 - 1 / n):.4f}" for n in range(1, 6)]
    (folder / "metrics.csv").write_text("\n".join(["step,examples,validation_auroc", *rows]) + "\n")
    return folder
