"""What the macro number hides: each observation, PA and AP films, sexes, examinations, and calibration.

Conventions
-----------
The reference cell is the whole network with the best validation AUROC, mean over seeds: chosen without
looking at the test patients. The view is a confounder (sicker patients are filmed lying down, AP), so AUROC within
PA and within AP stands beside the AUROC of all films.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xraytransfer.study.analysis.cells import Cell, Scores, auroc_interval, mean_over_seeds
from xraytransfer.study.analysis.data_summary import is_synthetic
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.results_folder import judged_by
from xraytransfer.study.analysis.table import Column, Row, Table, interval_row, printed
from xraytransfer.study.stats import Floats
from xraytransfer.study.stats.auroc import weighted_auprc, weighted_auroc
from xraytransfer.study.stats.bootstrap import (
    Interval,
    Statistic,
    macro_mean,
    observation_replicates,
)
from xraytransfer.study.stats.calibration_error import brier, expected_calibration_error

__all__ = ["observation_table", "published_table", "reference_cell", "reference_table", "subset_table"]

Mask = NDArray[np.bool_]


def reference_cell(scores: Scores) -> Cell:
    """Return the whole network whose ensemble has the best validation AUROC, mean over seeds.

    Where no validation AUROC is stored, it is the first cell. A truncated network is returned only where there is
    no whole one.
    """

    def validation(cell: Cell) -> float:
        values = [float((run.done.get("validation_auroc") or {}).get("macro") or np.nan) for run in cell.runs]
        return float(np.nanmean(values)) if not np.isnan(values).all() else -1.0

    return max(scores.whole() or scores.cells, key=validation)


def reference_table(scores: Scores) -> Table:
    """Return one row per observation for the reference cell: AUROC, AUPRC, within views, calibration."""
    cell = reference_cell(scores)
    test = cell.runs[0].test
    auprc = _intervals(cell, scores, auprc=True)
    by_view = {view: _intervals(cell, scores, rows=test.view == view) for view in ("PA", "AP")}
    rows: list[Row] = []
    for k, name in enumerate(scores.results.observations):
        label, interval = test.label[:, k], cell.observation(k)
        probability = np.mean([run.test.ensemble[:, k] for run in cell.runs], axis=0)
        row: Row = {
            "observation": name,
            "positives": int((label == 1).sum()),
            "known": int((~np.isnan(label)).sum()),
            **interval_row(interval),
            "left_out": interval.undefined,
            **interval_row(auprc[k], "auprc_"),
            "prevalence": float(np.nanmean(label)) if (~np.isnan(label)).any() else float("nan"),
        }
        for view, intervals in by_view.items():
            row |= interval_row(intervals[k], f"{view}_")
        row |= {"ece": expected_calibration_error(label, probability), "brier": brier(label, probability)}
        rows.append(row)
    columns = (
        "observation",
        Column("Positive", "positives"),
        Column("of", "known"),
        Column("AUROC (95 %)", "", "interval"),
        Column("AUPRC (95 %)", "auprc_", "interval"),
        Column("Chance AUPRC", "prevalence", "number"),
        Column("AUROC, PA", "PA_", "interval"),
        Column("AUROC, AP", "AP_", "interval"),
        "ece",
        "brier",
    )
    note = (
        "The whole network with the best validation AUROC; AUROC and AUPRC are means over its seeds. The intervals of "
        "AUPRC are over patients alone, those of AUROC over patients and trainings. Calibration is of "
        "the mean probability, uncalibrated. ECE over 15 bins of equally many films. \N{EN DASH}: a class is absent."
    )
    if undefined := sum(row["left_out"] for row in rows):
        note += f" {undefined} bootstrap replicates in which a class was absent are left out."
    return Table("reference", f"By observation: {cell.label}", columns, rows, note)


def observation_table(scores: Scores) -> Table:
    """Return one row per cell, one AUROC per observation."""
    rows: list[Row] = []
    for cell in scores.cells:
        row: Row = cell.names
        for k, name in enumerate(scores.results.observations):
            row |= interval_row(cell.observation(k), f"{name}_")
        rows.append(row)
    names = scores.results.observations
    columns: tuple[Column | str, ...] = (
        "architecture",
        "initialisation",
        "truncation",
        *(Column(printed(name), f"{name}_", "interval", digits=2) for name in names),
    )
    return Table("observations", "AUROC (95 %) of every cell by observation", columns, rows)


def subset_table(scores: Scores) -> Table:
    """Return one row per cell: macro AUROC of all films, PA, AP, women, men, and of examinations."""
    test = scores.results.test
    by_examination = judged_by(scores.results.runs[0].config) == "examination"
    subsets = {"PA": test.view == "PA", "AP": test.view == "AP", "women": test.sex == "F", "men": test.sex == "M"}
    subsets = {name: rows for name, rows in subsets.items() if 0 < rows.sum() < len(rows)}
    several_films = test.several_films
    rows: list[Row] = []
    for cell in scores.cells:
        row: Row = {**cell.names, **interval_row(cell.macro, "all_")}
        for name, mask in subsets.items():
            row |= interval_row(_subset_macro(cell, scores, mask), f"{name}_")
        if several_films:
            row |= interval_row(_examination_macro(cell, scores), "examinations_")
        row["ece"], row["brier"] = _calibration(cell)
        rows.append(row)
    titles = {
        "all": "All examinations" if by_examination else "All films",
        **{name: name.capitalize() if name.islower() else name for name in subsets},
    }
    if several_films:
        titles["examinations"] = "Examinations"
    columns: tuple[Column | str, ...] = (
        "architecture",
        "initialisation",
        "truncation",
        *(Column(title, f"{name}_", "interval") for name, title in titles.items()),
        "ece",
        "brier",
    )
    counts = "".join(f", {name} {int(mask.sum())}" for name, mask in subsets.items())
    lacks = "".join(_lacking(scores, name, mask) for name, mask in subsets.items())
    note = f"ECE and Brier: means over observations.{lacks} "
    if by_examination:
        note = f"Examinations: all {len(test.image)}{counts}, by the view of the first film. {note}"
        note += "An examination has the maximum over its views, as the paper's lab judges."
    else:
        note = f"Films: all {len(test.image)}{counts}. {note}"
        note += (
            "Examinations: maximum over the views, as the paper's lab judges."
            if several_films
            else "One film an examination."
        )
    return Table("subsets", "Macro AUROC (95 %) of every cell within subsets", columns, rows, note)


def _lacking(scores: Scores, name: str, mask: Mask) -> str:
    """Return a sentence on observations that all films have in their mean and a subset has not; empty for none."""
    known, label = ~np.isnan(scores.cells[0].value), scores.results.test.label[mask]
    both = (label == 1).any(axis=0) & (label == 0).any(axis=0)
    absent = [str(one).replace("_", " ") for one in np.array(scores.results.observations)[known & ~both]]
    return f" {name} lacks {', '.join(absent)}: its mean is over the other observations." if absent else ""


def published_table(scores: Scores) -> Table | None:
    """Return published AUROCs for the runs' data set; None where none has a source, and for phantoms."""
    numbers = read_published(str(scores.results.config("data", "name")))
    if not numbers or is_synthetic(scores):
        return None
    cell, names = reference_cell(scores), scores.results.observations
    ours: Row = {"who": f"these runs: {cell.label}", "note": "this data set's sample, this split"}
    rows = [ours | {name: float(cell.value[k]) for k, name in enumerate(names)}]
    for one in numbers:
        if rows[-1]["who"] != one.who:
            rows.append({"who": one.who, "note": f"{one.note}; {one.source}"})
        rows[-1][one.quantity] = one.value
    columns = (
        Column("Who", "who", "words"),
        *(Column(printed(name), name, "number") for name in names),
        Column("On what; where read", "note", "words"),
    )
    note = "Other films, other splits, other resolutions: beside ours for scale, not for comparison."
    return Table("published", "Published AUROC on this data set", columns, rows, note)


def _intervals(cell: Cell, scores: Scores, *, rows: Mask | None = None, auprc: bool = False) -> list[Interval]:
    """Return one interval per observation, of some films, or of average precision (over patients only)."""
    films = np.ones(len(scores.results.test.image), bool) if rows is None else rows
    statistic = weighted_auprc if auprc else weighted_auroc
    value, replicates = mean_over_seeds(_replicates(cell, scores, films, statistic))
    replicates = replicates if auprc else replicates + cell.noise
    return [auroc_interval(float(value[k]), replicates[:, k]) for k in range(len(value))]


def _subset_macro(cell: Cell, scores: Scores, rows: Mask) -> Interval:
    """Return macro AUROC of some films."""
    return _macro(cell, _replicates(cell, scores, rows))


def _examination_macro(cell: Cell, scores: Scores) -> Interval:
    """Return macro AUROC of examinations: the maximum of the ensemble's probability over the views."""
    tests = [run.test.by_examination() for run in cell.runs]
    weights = scores.patient_weights(tests[0].patient)
    return _macro(cell, [observation_replicates(test.label, test.ensemble, weights) for test in tests])


def _macro(cell: Cell, each: list[tuple[Floats, Floats]]) -> Interval:
    """Return the mean over seeds and observations; the chance of training is that on all films."""
    value, replicates = mean_over_seeds(each)
    return auroc_interval(*macro_mean(value, replicates + cell.noise))


def _replicates(
    cell: Cell, scores: Scores, rows: Mask, statistic: Statistic = weighted_auroc
) -> list[tuple[Floats, Floats]]:
    """Return for each run what `observation_replicates` returns for some films."""
    weights, tests = scores.weights[:, rows], [run.test for run in cell.runs]
    return [observation_replicates(test.label[rows], test.ensemble[rows], weights, statistic) for test in tests]


def _calibration(cell: Cell) -> tuple[float, float]:
    """Return ECE and Brier score, means over observations and seeds."""
    values = [
        (expected_calibration_error(label, probability), brier(label, probability))
        for run in cell.runs
        for label, probability in zip(run.test.label.T, run.test.ensemble.T, strict=True)
        if (~np.isnan(label)).any()
    ]
    ece, brier_score = np.mean(values, axis=0)
    return float(ece), float(brier_score)
