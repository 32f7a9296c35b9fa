"""Cells of the grid: pairing, and what seeds do to intervals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xraytransfer.study.analysis.cells import auroc_interval, score_results
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


def test_one_seed_has_the_noise_of_all_and_is_marked(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, "alpha1")
    alone = score_results(read_results(tmp_path), replicates=400)
    assert np.isnan(alone.seed_sd[0])
    for seed in range(2):
        for name in ("beta1", "gamma1"):
            write_study_run(tmp_path, name, seed=seed, skill=1 - 0.3 * seed)
    scores = score_results(read_results(tmp_path), replicates=400)
    sd, freedom = scores.seed_sd
    assert freedom == 2
    assert sd == pytest.approx(np.sqrt(np.mean([cell.seed_sd**2 for cell in scores.cells if len(cell.runs) == 2])))
    before, after = alone.cells[0], scores.find("alpha1", "pretrained")
    assert after is not None
    assert after.seeds == "1 (one seed)"
    assert after.macro.upper - after.macro.lower > 2 * sd > before.macro.upper - before.macro.lower


def test_interval_of_an_auroc_stays_within_0_and_1() -> None:
    drawn = np.random.default_rng(0).normal(0.95, 0.05, 1000)
    inside, outside = auroc_interval(0.95, drawn - 0.3), auroc_interval(0.95, drawn)
    assert outside.upper == 1.0
    assert outside.lower == pytest.approx(np.quantile(drawn, 0.025))
    assert inside.upper == pytest.approx(np.quantile(drawn - 0.3, 0.975))


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
