"""What ensembles add: checkpoints of a run, their mean weights, runs together; by film and by examination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from xraytransfer.study.analysis.cells import Scores, score_results
from xraytransfer.study.analysis.ensembles import MEAN, across_table, checkpoint_table, ensemble_verdicts
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.data.predictions import read_predictions, write_predictions
from xraytransfer.study.stats.bootstrap import bootstrap_difference

Write = Callable[..., Path]


def score_folder(folder: Path, replicates: int = 200) -> Scores:
    return score_results(read_results(folder), replicates=replicates)


def macro(label: np.ndarray, probability: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(label[:, k], probability[:, k]) for k in range(label.shape[1])]))


def test_one_row_per_cell_and_their_mean(tmp_path: Path, write_study_run: Write) -> None:
    one = write_study_run(tmp_path, "alpha1")
    write_study_run(tmp_path, "alpha2", initialisation="random", skill=0.5)
    write_study_run(tmp_path, "alpha1", truncation=1, skill=0.8)
    scores = score_folder(tmp_path)
    table = checkpoint_table(scores, workers=2)
    assert [row["cell"] for row in table.rows] == [
        "alpha1, pretrained", "alpha1 \N{MINUS SIGN}1, pretrained", "alpha2, random", MEAN,
    ]  # fmt: skip
    row, stored = table.rows[0], read_predictions(one / "predictions" / "test.npz")
    assert stored.soup is not None
    assert row["checkpoints"] == "3"
    assert row["ensemble_value"] == pytest.approx(macro(stored.label, stored.ensemble()))
    assert row["best_value"] == pytest.approx(macro(stored.label, stored.best_checkpoint()))
    assert row["soup_value"] == pytest.approx(macro(stored.label, stored.soup))
    for first, second, key in (
        (stored.ensemble(), stored.best_checkpoint(), "ensemble_minus_best"),
        (stored.soup, stored.best_checkpoint(), "soup_minus_best"),
        (stored.soup, stored.ensemble(), "soup_minus_ensemble"),
    ):
        expected = bootstrap_difference(stored.label, first, second, scores.weights)
        assert row[f"{key}_value"] == pytest.approx(expected.value)
        assert (row[f"{key}_lower"], row[f"{key}_upper"]) == pytest.approx((expected.lower, expected.upper))
        assert row[f"{key}_p"] == expected.p
    # the mean is over whole networks only
    whole = [table.rows[0], table.rows[2]]
    for key in ("ensemble_value", "soup_minus_best_value"):
        assert table.rows[3][key] == pytest.approx(np.mean([one[key] for one in whole]))  # type: ignore[misc]
    verdicts = ensemble_verdicts(table)
    assert len(verdicts) == 2
    assert all(sentence.startswith("Over whole networks") for sentence in verdicts)


def test_seeds_are_drawn_with_the_patients(tmp_path: Path, write_study_run: Write) -> None:
    for seed in (0, 1, 2):
        write_study_run(tmp_path, seed=seed)
    scores = score_folder(tmp_path)
    (row,) = checkpoint_table(scores).rows
    (cell,) = scores.cells
    # the same interval as in every other table of the report
    assert (row["ensemble_value"], row["ensemble_lower"], row["ensemble_upper"]) == (
        cell.macro.value, cell.macro.lower, cell.macro.upper,
    )  # fmt: skip
    assert row["seeds"] == 3
    assert "For alpha1" in ensemble_verdicts(checkpoint_table(scores))[0]


def test_runs_without_a_soup_are_compared_as_far_as_they_go(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, "alpha1", soup=False)
    write_study_run(tmp_path, "alpha2")
    table = checkpoint_table(score_folder(tmp_path))
    assert "soup_value" not in table.rows[0]
    assert "soup_value" in table.rows[1]
    assert "soup_value" not in table.rows[2], "a mean over some of the cells would be another quantity"
    assert "the run stored no soup" in table.note
    assert len(ensemble_verdicts(table)) == 1
    assert "\N{EN DASH}" in table.markdown()


def test_one_checkpoint_is_no_ensemble(tmp_path: Path, write_study_run: Write) -> None:
    path = write_study_run(tmp_path) / "predictions" / "test.npz"
    stored = read_predictions(path)
    write_predictions(path, replace(stored, probability=stored.probability[:, :1], checkpoint_steps=np.array([30])))
    scores = score_folder(tmp_path)
    table = checkpoint_table(scores)
    assert table.rows == []
    assert "one checkpoint" in ensemble_verdicts(table)[0]
    assert across_table(scores) is None


def test_architectures_together_by_film_and_by_examination(tmp_path: Path, write_study_run: Write) -> None:
    for name in ("alpha1", "beta22"):
        path = write_study_run(tmp_path, name, skill=0.7) / "predictions" / "test.npz"
        stored = read_predictions(path)
        pairs = np.array([f"e{index // 2}" for index in range(len(stored.image))])
        write_predictions(path, replace(stored, examination=pairs))
    scores = score_folder(tmp_path)
    table = across_table(scores)
    assert table is not None
    (row,) = table.rows
    assert str(row["ensemble"]).startswith("2 runs: all pretrained")
    one, two = (run.test.ensemble for run in scores.results.runs)
    test = scores.results.test
    mean = (one.astype(float) + two) / 2
    assert row["value"] == pytest.approx(macro(test.label, mean), abs=1e-6)
    label, films = test.label.reshape(-1, 2, 6).max(axis=1), mean.reshape(-1, 2, 6).max(axis=1)
    assert row["examinations_value"] == pytest.approx(macro(label, films), abs=1e-6)
    assert row["examinations_lower"] < row["examinations_value"] < row["examinations_upper"]  # type: ignore[operator]
    # the reference is the first run of the best cell: the difference is to that, examination by examination
    reference = one.reshape(-1, 2, 6).max(axis=1)
    assert row["examinations_difference_value"] == pytest.approx(
        macro(label, films) - macro(label, reference), abs=1e-6
    )
    assert "maximum over the views" in table.note
