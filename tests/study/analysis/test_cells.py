"""Cells of the grid: pairing, and what seeds do to intervals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xraytransfer.study.analysis.cells import draw_seeds, mean_over_seeds, score_results
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.stats.auroc import macro_auroc

Write = Callable[..., Path]


def test_cells_are_means_over_seeds(tmp_path: Path, write_study_run: Write) -> None:
    for seed in range(3):
        write_study_run(tmp_path, "alpha1", seed=seed)
    write_study_run(tmp_path, "alpha1", initialisation="random", skill=0.5)
    results = read_results(tmp_path)
    scores = score_results(results, replicates=100, workers=2)
    cell = scores.find("alpha1", "pretrained")
    assert cell is not None
    each = [macro_auroc(run.test.label, run.test.ensemble) for run in results.runs if run.cell[1] == "pretrained"]
    assert cell.macro.value == pytest.approx(np.mean(each))
    assert cell.by_seed.tolist() == pytest.approx(each)
    assert cell.seed_sd == pytest.approx(np.std(each, ddof=1))
    assert cell.macro.lower < cell.macro.value < cell.macro.upper
    random = scores.find("alpha1", "random")
    assert random is not None
    assert np.isnan(random.seed_sd)
    assert cell.minus(random).lower > 0
    assert cell.minus(cell).value == 0
    assert scores.find("beta", "random") is None
    assert [one.label for one in scores.cells] == ["alpha1, pretrained", "alpha1, random"]


def test_scores_repeat(tmp_path: Path, write_study_run: Write) -> None:
    for seed in range(2):
        write_study_run(tmp_path, seed=seed)
    results = read_results(tmp_path)
    one, two = (score_results(results, replicates=50, seed=4, workers=n) for n in (1, 3))
    np.testing.assert_array_equal(one.cells[0].replicates, two.cells[0].replicates)
    other = score_results(results, replicates=50, seed=5)
    assert not np.array_equal(one.cells[0].replicates, other.cells[0].replicates)


def test_drawing_seeds_gives_the_variance_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    for seeds in (2, 3, 5):
        value = rng.normal(0, 1, seeds)
        scores = [(np.array([one]), np.full((40_000, 1), one)) for one in value]
        mean, mixed = mean_over_seeds(scores, draw_seeds(seeds, 40_000, rng))
        assert mean == pytest.approx(value.mean())
        assert mixed.mean() == pytest.approx(value.mean(), abs=0.02)
        assert mixed.var() == pytest.approx(value.var(ddof=1) / seeds, rel=0.04)


def test_an_observation_without_positives_is_left_out_of_the_mean(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, positives=0.0)
    cell = score_results(read_results(tmp_path), replicates=20).cells[0]
    assert np.isnan([cell.macro.value, cell.macro.lower]).all()
    folder = write_study_run(tmp_path / "two")
    path = folder / "predictions" / "test.npz"
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    arrays["label"][:, 3] = 0
    np.savez(path, **arrays)
    cell = score_results(read_results(tmp_path / "two"), replicates=20).cells[0]
    assert np.isnan(cell.observation(3).value)
    assert cell.macro.value == pytest.approx(np.nanmean(cell.value))
    assert np.isnan(cell.value).sum() == 1
