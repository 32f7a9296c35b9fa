"""Below the macro number: each observation, PA and AP films, sexes, examinations, and calibration.

Conventions
-----------
The reference cell is the whole network with the best validation AUROC, mean over seeds: chosen without
looking at the test patients. View is a confounder (the sicker are filmed lying down, AP), so AUROC within PA
and within AP stands beside the AUROC of all films.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xraytransfer.study.analysis.cells import Cell, Scored, combine_seeds, replicate_matrix
from xraytransfer.study.analysis.data_summary import is_synthetic
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.results_folder import RunResult
from xraytransfer.study.analysis.table import Column, Table, interval_row, number, show_interval, text
from xraytransfer.study.stats.auroc import weighted_auprc, weighted_auroc
from xraytransfer.study.stats.bootstrap import Interval, Statistic, percentile_interval, resample_patients
from xraytransfer.study.stats.calibration_error import brier, expected_calibration_error

__all__ = ["observation_table", "published_table", "reference_cell", "reference_table", "subset_table"]

Floats = NDArray[np.float64]


def reference_cell(scored: Scored) -> Cell:
    """Return the whole network whose ensemble has the best validation AUROC, mean over seeds.

    Where no validation AUROC is stored, the first cell. Truncated ones only where there is no whole one.
    """

    def validation(cell: Cell) -> float:
        values = [float((run.done.get("validation_auroc") or {}).get("macro") or np.nan) for run in cell.runs]
        return float(np.nanmean(values)) if not np.isnan(values).all() else -1.0

    return max([c for c in scored.cells if c.truncation == 0] or scored.cells, key=validation)


def reference_table(scored: Scored) -> Table:
    """Return one row per observation for the reference cell: AUROC, AUPRC, within views, calibration."""
    cell = reference_cell(scored)
    test = cell.runs[0].test
    precise = _intervals(cell, scored, statistic=weighted_auprc)
    views = {view: _intervals(cell, scored, rows=test.view == view) for view in ("PA", "AP")}
    rows = []
    for k, name in enumerate(scored.results.observations):
        label = test.label[:, k]
        probability = np.mean([run.test.probability[:, 0, k] for run in cell.runs], axis=0)
        rows.append(
            {
                "observation": name,
                "positives": int((label == 1).sum()),
                "known": int((~np.isnan(label)).sum()),
                **interval_row(cell.observation(k)),
                "left_out": cell.observation(k).undefined,
                **interval_row(precise[k], "auprc_"),
                "prevalence": float(np.nanmean(label)) if (~np.isnan(label)).any() else float("nan"),
                **{key: v for view in views for key, v in interval_row(views[view][k], f"{view}_").items()},
                "ece": expected_calibration_error(label, probability),
                "brier": brier(label, probability),
            }
        )
    columns = (
        Column("Observation", text("observation"), right=False),
        Column("Positive", text("positives")),
        Column("of", text("known")),
        Column("AUROC (95 %)", show_interval()),
        Column("AUPRC (95 %)", show_interval("auprc_")),
        Column("Chance AUPRC", number("prevalence")),
        Column("AUROC, PA", show_interval("PA_")),
        Column("AUROC, AP", show_interval("AP_")),
        Column("ECE", number("ece")),
        Column("Brier", number("brier")),
    )
    dropped = sum(int(row["left_out"]) for row in rows)  # type: ignore[call-overload]
    note = (
        "The whole network with the best validation AUROC; AUROC and AUPRC are means over its seeds, calibration is of "
        "the mean probability, uncalibrated. ECE over 15 bins of equally many films. \N{EN DASH}: a class is absent."
    )
    if dropped:
        note += f" {dropped} bootstrap replicates in which a class was absent are left out."
    return Table("reference", f"By observation: {cell.label}", columns, rows, note)


def observation_table(scored: Scored) -> Table:
    """Return one row per cell, one AUROC per observation."""
    rows = []
    for cell in scored.cells:
        row: dict[str, object] = {
            "architecture": cell.architecture,
            "initialisation": cell.initialisation,
            "truncation": cell.truncation,
        }
        for k, name in enumerate(scored.results.observations):
            row |= interval_row(cell.observation(k), f"{name}_")
        rows.append(row)
    columns = [
        Column("Architecture", text("architecture"), right=False),
        Column("Weights", text("initialisation"), right=False),
        Column("Removed", text("truncation")),
    ]
    columns += [
        Column(name.replace("_", " ").capitalize(), show_interval(f"{name}_", 2))
        for name in scored.results.observations
    ]
    return Table("observations", "AUROC (95 %) of every cell by observation", columns, rows)


def subset_table(scored: Scored) -> Table:
    """Return one row per cell: macro AUROC of all films, PA, AP, women, men, and of examinations."""
    test = scored.results.test
    subsets = {"PA": test.view == "PA", "AP": test.view == "AP", "women": test.sex == "F", "men": test.sex == "M"}
    subsets = {name: rows for name, rows in subsets.items() if 0 < rows.sum() < len(rows)}
    many = len(np.unique(test.examination)) < len(test.image)
    rows = []
    for cell in scored.cells:
        row: dict[str, object] = {
            "architecture": cell.architecture,
            "initialisation": cell.initialisation,
            "truncation": cell.truncation,
            **interval_row(cell.macro, "all_"),
        }
        for name, chosen in subsets.items():
            row |= interval_row(_macro(cell, scored, chosen), f"{name}_")
        if many:
            row |= interval_row(_examinations(cell, scored), "examinations_")
        row["ece"], row["brier"] = _calibration(cell)
        rows.append(row)
    titles = {"all": "All films", **{name: name.capitalize() if name.islower() else name for name in subsets}}
    if many:
        titles["examinations"] = "Examinations"
    columns = [
        Column("Architecture", text("architecture"), right=False),
        Column("Weights", text("initialisation"), right=False),
        Column("Removed", text("truncation")),
        *(Column(title, show_interval(f"{name}_")) for name, title in titles.items()),
        Column("ECE", number("ece")),
        Column("Brier", number("brier")),
    ]
    counts = ", ".join(f"{name} {int(chosen.sum())}" for name, chosen in subsets.items())
    note = f"Films: all {len(test.image)}{', ' if counts else ''}{counts}. ECE and Brier: means over observations. "
    note += "Examinations: maximum over the views, as the paper's lab judges." if many else "One film an examination."
    return Table("subsets", "Macro AUROC (95 %) of every cell within subsets", columns, rows, note)


def published_table(scored: Scored) -> Table | None:
    """Return published AUROCs for the runs' data set; None where none is sourced, and for phantoms."""
    found = read_published(str(scored.results.config("data", "name")))
    if not found or is_synthetic(scored):
        return None
    cell = reference_cell(scored)
    rows: list[dict[str, object]] = []
    ours: dict[str, object] = {"who": f"these runs: {cell.label}", "note": "this data set's sample, this split"}
    ours |= {name: float(cell.value[k]) for k, name in enumerate(scored.results.observations)}
    rows.append(ours)
    for one in found:
        if rows[-1]["who"] != one.who:
            rows.append({"who": one.who, "note": f"{one.note}; {one.source}"})
        rows[-1][one.quantity] = one.value
    columns = [
        Column("Who", text("who"), right=False),
        *(Column(name.replace("_", " ").capitalize(), number(name)) for name in scored.results.observations),
        Column("On what; where read", text("note"), right=False),
    ]
    note = "Other films, other splits, other resolutions: beside ours for scale, not for comparison."
    return Table("published", "Published AUROC on this data set", columns, rows, note)


def _intervals(
    cell: Cell, scored: Scored, *, rows: NDArray[np.bool_] | None = None, statistic: Statistic = weighted_auroc
) -> list[Interval]:
    """Return one interval per observation, of some films or another statistic."""
    judged = [replicate_matrix(run, scored.weights, rows=rows, statistic=statistic) for run in cell.runs]
    value = np.mean([one[0] for one in judged], axis=0)
    drawn = combine_seeds(np.stack([one[1] for one in judged]), scored.generator(50))
    return [percentile_interval(float(value[k]), drawn[:, k]) for k in range(len(value))]


def _macro(cell: Cell, scored: Scored, rows: NDArray[np.bool_]) -> Interval:
    judged = [replicate_matrix(run, scored.weights, rows=rows) for run in cell.runs]
    return _macro_interval([one[0] for one in judged], [one[1] for one in judged], scored)


def _macro_interval(values: list[Floats], drawn: list[Floats], scored: Scored) -> Interval:
    value = np.mean(values, axis=0)
    defined = ~np.isnan(value)
    if not defined.any():
        return percentile_interval(float("nan"), np.full(len(scored.weights), np.nan))
    mixed = combine_seeds(np.stack(drawn), scored.generator(51))
    return percentile_interval(float(value[defined].mean()), mixed[:, defined].mean(axis=1))


def _examinations(cell: Cell, scored: Scored) -> Interval:
    """Return macro AUROC of examinations: the maximum of the ensemble's probability over the views."""
    judged = []
    for run in cell.runs:
        test = replace(run.test, probability=run.test.probability[:, :1]).by_examination()
        weights = resample_patients(test.patient, len(scored.weights), np.random.default_rng([scored.seed, 0]))
        reduced = RunResult(run.name, run.folder, run.config, run.done, test, run.checkpoints)
        judged.append(replicate_matrix(reduced, weights))
    return _macro_interval([one[0] for one in judged], [one[1] for one in judged], scored)


def _calibration(cell: Cell) -> tuple[float, float]:
    """Return ECE and Brier score, means over observations and seeds."""
    values = [
        (expected_calibration_error(label, probability), brier(label, probability))
        for run in cell.runs
        for label, probability in zip(run.test.label.T, run.test.probability[:, 0].T, strict=True)
        if (~np.isnan(label)).any()
    ]
    ece, score = np.mean(values, axis=0)
    return float(ece), float(score)
