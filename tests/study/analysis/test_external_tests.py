"""External tests in the report: beside the own test, run by run, and what is absent."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xraytransfer.study.analysis.cells import score_results
from xraytransfer.study.analysis.external_comparisons import comparison_tables
from xraytransfer.study.analysis.external_tables import external_cells, external_run_table, external_tables, run_table
from xraytransfer.study.analysis.external_tests import external_sentences, read_external_tests
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.data.external_predictions import write_external
from xraytransfer.study.data.predictions import read_predictions, write_predictions
from xraytransfer.study.report.report import write_report
from xraytransfer.study.stats.auroc import macro_auroc

Write = Callable[..., Path]
LEFT_OUT = {"known_patients": 2, "known_films": 3, "refused": {"corrupt": 1}, "notes": []}
RECORD = {"kind": "external", "data": "hospital", "labels_absent": ["edema"], "left_out": LEFT_OUT, "rows": {}}
RECORD |= {"patients_compared": True}
"""What `study test` writes, as far as the report reads it."""


def add_test(
    folder: Path, name: str = "hospital", *, soup_alone: bool = False, films: int = 100, **record: Any
) -> None:
    """Store a test whose films are some of the run's own, without the labels for edema."""
    stored = read_predictions(folder / "predictions" / "test.npz").subset(np.arange(films))
    columns = np.flatnonzero(stored.observations != "edema")
    assert stored.soup is not None
    predictions = replace(
        stored,
        observations=stored.observations[columns],
        label=stored.label[:, columns],
        probability=stored.probability[:, :0][:, :, columns] if soup_alone else stored.probability[:, :, columns],
        checkpoint_steps=stored.checkpoint_steps[:0] if soup_alone else stored.checkpoint_steps,
        soup=stored.soup[:, columns],
    )
    write_external(folder, name, predictions, {**RECORD, **record})


@pytest.fixture
def results(tmp_path: Path, write_study_run: Write) -> Path:
    """Return a results folder: one cell of two seeds, and one of one."""
    for architecture, seed in (("alpha1", 0), ("alpha1", 1), ("beta1", 0)):
        write_study_run(tmp_path, architecture, seed=seed, parameters=1000 if architecture == "alpha1" else 2000)
    return tmp_path


def folders(results: Path) -> list[Path]:
    return sorted((results / "runs").iterdir())


def test_cells_beside_their_own_test(results: Path) -> None:
    for folder in folders(results):
        add_test(folder)
    scores = score_results(read_results(results), replicates=50)
    (test,) = read_external_tests(scores.results)
    cells, observations = external_tables(scores, [test])
    assert cells.name == "external_hospital"
    assert [(row["architecture"], row["seeds"]) for row in cells.rows] == [("alpha1", 2), ("beta1", 1)]
    run = scores.results.runs[2]
    five = [k for k, name in enumerate(scores.results.observations) if name != "edema"]
    own = macro_auroc(run.test.label[:, five], run.test.ensemble[:, five])
    outside = macro_auroc(test.films.label, test.probability(run.name))
    assert cells.rows[1]["own_value"] == pytest.approx(own)
    assert cells.rows[1]["value"] == pytest.approx(outside)
    assert float(str(cells.rows[1]["lower"])) < outside < float(str(cells.rows[1]["upper"]))
    assert "edema" not in cells.note
    assert observations.rows[0]["cardiomegaly_positives"] == int((test.films.label[:, 1] == 1).sum())
    assert "of 100" in observations.markdown()
    each = external_run_table(scores, test)
    assert [row["seed"] for row in each.rows] == [0, 1, 0]
    assert each.rows[2]["macro"] == pytest.approx(outside)
    (sentence,) = external_sentences([test])
    for part in ("100 films", "2 patients that the runs know left out", "1 film not readable", "no labels for edema"):
        assert part in sentence


def test_every_run_has_a_row(results: Path) -> None:
    add_test(folders(results)[0])
    scores = score_results(read_results(results), replicates=20)
    tests = read_external_tests(scores.results)
    rows = run_table(scores, tests).rows
    assert len(rows) == 3
    run = scores.results.runs[0]
    assert rows[0]["test_ensemble"] == pytest.approx(macro_auroc(run.test.label, run.test.ensemble))
    assert rows[0]["test_best"] == pytest.approx(macro_auroc(run.test.label, run.test.best_checkpoint))
    assert rows[0]["test_soup"] == pytest.approx(macro_auroc(run.test.label, run.test.soup))
    assert "hospital_ensemble" in rows[0]
    assert "hospital_ensemble" not in rows[1]
    assert "alpha1-pretrained-t0-s1 (not tested)" in external_sentences(tests)[0]
    assert external_tables(scores, tests)[0].rows[0]["seeds"] == 1  # the own test is of the same run, too


def test_a_thinned_run_has_all_compared_by_the_soup(results: Path) -> None:
    for number, folder in enumerate(folders(results)):
        add_test(folder, soup_alone=number == 2)
    scores = score_results(read_results(results), replicates=20)
    (test,) = read_external_tests(scores.results)
    assert test.model == "soup"
    cells, _ = external_tables(scores, [test])
    run = scores.results.runs[2]
    five = [k for k, name in enumerate(scores.results.observations) if name != "edema"]
    assert run.test.soup is not None
    assert cells.rows[1]["own_value"] == pytest.approx(macro_auroc(run.test.label[:, five], run.test.soup[:, five]))
    whole, _, thinned = run_table(scores, [test]).rows
    assert whole["hospital_ensemble"] == pytest.approx(
        macro_auroc(test.films.label, test.models[whole["run"]]["ensemble"])
    )
    assert thinned["hospital_ensemble"] is None
    assert thinned["hospital_best"] is None
    assert thinned["hospital_soup"] == pytest.approx(macro_auroc(test.films.label, test.probability(run.name)))
    assert "compared by the soup" in external_sentences([test])[0]


def test_old_runs_without_soups_beside_a_thinned_one(tmp_path: Path, write_study_run: Write) -> None:
    add_test(write_study_run(tmp_path, "alpha1"), soup_alone=True)
    path = tmp_path / "runs" / "alpha1-pretrained-t0-s0" / "predictions" / "test.npz"
    from xraytransfer.study.data.predictions import write_predictions

    write_predictions(path, replace(read_predictions(path), soup=None))
    scores = score_results(read_results(tmp_path), replicates=20)
    cells, _ = external_tables(scores, read_external_tests(scores.results))
    assert "own_value" not in cells.rows[0]
    assert "stored no soup" in cells.note


def test_other_films_and_damaged_files_are_named(results: Path) -> None:
    one, two, three = folders(results)
    add_test(one)
    add_test(two, films=90)
    add_test(three)
    (three / "predictions" / "external" / "hospital.npz").write_bytes(b"damaged")
    (test,) = read_external_tests(read_results(results))
    assert list(test.models) == [one.name]
    absent = dict(test.absent)
    assert absent[two.name] == "other films, patients or labels"
    assert "cannot be read" in absent[three.name]
    assert str(results) not in absent[three.name]


def test_a_test_that_nobody_can_read_is_left_out(results: Path) -> None:
    folder = folders(results)[0] / "predictions" / "external"
    folder.mkdir()
    (folder / "empty.json").write_text("{}")
    assert read_external_tests(read_results(results)) == []


def test_the_report_has_a_section_and_files(results: Path) -> None:
    for folder in folders(results):
        add_test(folder)
        changed = {"source": "test", "correct": True, "labels_changed": {"edema": 4}}
        add_test(folder, "panel", kind="relabelled", **changed)
    page = write_report(results, replicates=20, measure=False)
    text = page.read_text(encoding="utf-8")
    assert '<section id="external">' in text
    assert "4 labels changed" in text
    tables = page.parent / "tables"
    names = {path.stem for path in tables.glob("*.csv")}
    for name in ("hospital", "panel"):
        assert {f"external_{name}", f"external_{name}_observations", f"external_{name}_runs"} <= names
    with (tables / "runs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == [folder.name for folder in folders(results)]
    assert len(rows[0]["panel_soup"]) > 10
    again = write_report(results, results / "again", replicates=20, measure=False)
    assert again.read_bytes() == page.read_bytes()


def test_a_report_without_external_tests_has_the_runs(results: Path) -> None:
    page = write_report(results, replicates=20, measure=False)
    assert '<section id="external">' not in page.read_text(encoding="utf-8")
    assert (page.parent / "tables" / "runs.csv").is_file()


def test_maps_of_a_thinned_run_say_so(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from xraytransfer.study.report import activation_maps
    from xraytransfer.study.training.kept_weights import KeptWeights, write_kept_weights

    for folder in folders(results):
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "index.json").write_text(
            json.dumps([{"step": 1, "file": "step-1", "validation_auroc": 0.5, "sha256": "0"}])
        )
        write_kept_weights(folder, KeptWeights("predictions"))
    monkeypatch.setattr(activation_maps, "_pixels", lambda cell, rows: np.zeros((len(rows), 8, 8), np.uint8))
    monkeypatch.setattr("xraytransfer.study.report.report.measure_costs", lambda results: {})
    text = write_report(results, replicates=20).read_text(encoding="utf-8")
    assert "was thinned to predictions: it has no weights" in text


def test_runs_judged_by_examination_are_so_on_every_test(tmp_path: Path, write_study_run: Write) -> None:
    preset = {"name": "paper", "epochs": 2, "judged_by": "examination"}
    for architecture in ("alpha1", "beta1"):
        folder = write_study_run(tmp_path, architecture, preset=preset)
        path = folder / "predictions" / "test.npz"
        stored = read_predictions(path)
        pairs = replace(stored, examination=np.array([f"e{i // 2}" for i in range(len(stored.image))]))
        write_predictions(path, pairs)
        write_external(folder, "same", pairs, {**RECORD, "labels_absent": []})
        soup = replace(pairs, probability=pairs.probability[:, :0], checkpoint_steps=pairs.checkpoint_steps[:0])
        write_external(folder, "soup", soup, {**RECORD, "labels_absent": []})
    scores = score_results(read_results(tmp_path), replicates=20)
    same, soup_alone = read_external_tests(scores.results)
    # the same films, labels and runs: the same numbers
    assert len(same.films.image) == len(scores.results.test.image) == 120
    for row in external_tables(scores, [same])[0].rows:
        assert row["value"] == row["own_value"]
    (soup_row, _) = external_tables(scores, [soup_alone])[0].rows
    assert soup_row["value"] == soup_row["own_value"]
    assert "120 examinations" in external_sentences([same])[0]
    assert "films" not in external_sentences([same])[0].split(";")[0]


def test_pretraining_and_cuts_by_every_judge(tmp_path: Path, write_study_run: Write) -> None:
    for architecture in ("alpha1", "beta1"):
        for initialisation, truncation in (("pretrained", 0), ("random", 0), ("pretrained", 1)):
            write_study_run(tmp_path, architecture, initialisation=initialisation, truncation=truncation)
    for folder in folders(tmp_path):
        add_test(folder)
    (beta,) = (folder for folder in folders(tmp_path) if folder.name.startswith("beta1-random"))
    add_test(beta, "clinic", films=60)  # one run alone: it has nothing to be compared with
    scores = score_results(read_results(tmp_path), replicates=50)
    tests = read_external_tests(scores.results)
    (table,) = comparison_tables(scores, tests)
    assert [(row["comparison"], row["network"]) for row in table.rows] == [
        ("pretrained minus random", "alpha1"),
        ("pretrained minus random", "beta1"),
        ("pretrained minus random", "mean of 2"),
        ("1 stage removed, minus whole, pretrained", "alpha1"),
        ("1 stage removed, minus whole, pretrained", "beta1"),
        ("1 stage removed, minus whole, pretrained", "mean of 2"),
    ]
    hospital = next(test for test in tests if test.name == "hospital")
    by_key = {cell.key: cell for cell in external_cells(scores, hospital, 1)}
    one, other = by_key["alpha1", "pretrained", 1], by_key["alpha1", "pretrained", 0]
    row = table.rows[3]
    assert row["hospital_value"] == pytest.approx(one.macro.value - other.macro.value)
    assert (row["hospital_lower"], row["hospital_upper"]) == (one.minus(other).lower, one.minus(other).upper)
    own = scores.find("alpha1", "random"), scores.find("alpha1", "pretrained")
    assert table.rows[0]["test_value"] == pytest.approx(own[1].macro.value - own[0].macro.value)
    for rows in (table.rows[:3], table.rows[3:]):
        alpha, beta_row, mean = (row["hospital_value"] for row in rows)
        assert mean == pytest.approx((alpha + beta_row) / 2)
    assert not any("clinic_value" in row for row in table.rows)


def test_no_comparison_without_a_pair_or_an_external_test(results: Path) -> None:
    scores = score_results(read_results(results), replicates=50)
    assert comparison_tables(scores, []) == []
    add_test(folders(results)[0])
    assert comparison_tables(scores, read_external_tests(scores.results)) == []
