"""Tables of the external tests: cells beside their own test, observations, and every run.

Conventions
-----------
Cells, seeds and intervals by patient are those of `xraytransfer.study.analysis.cells`. In both columns of the table of
cells, macro AUROC is the mean over the observations that the external test has, and the runs are the same, compared by
the same model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from xraytransfer.study.analysis.cells import Cell, Scores, score_cells
from xraytransfer.study.analysis.external_tests import ExternalTest
from xraytransfer.study.analysis.results_folder import RunResult
from xraytransfer.study.analysis.table import Column, Row, Table, interval_row, printed
from xraytransfer.study.stats.auroc import auroc, macro_auroc
from xraytransfer.study.stats.bootstrap import resample_patients

__all__ = ["external_cells", "external_run_table", "external_tables", "run_table"]

CELL_COLUMNS = ("architecture", "initialisation", "truncation", "seeds")


def external_tables(scores: Scores, tests: Sequence[ExternalTest], workers: int = 1) -> list[Table]:
    """Return two tables for each external test: its cells beside their own test, and its observations.

    Parameters
    ----------
    scores : Scores
        The runs on their own test films.
    tests : sequence of ExternalTest
        From `read_external_tests`.
    workers : int
        Threads.
    """
    tables = []
    for test in tests:
        cells = external_cells(scores, test, workers)
        own = _own_cells(scores, test, workers)
        tables += [_cell_table(scores, test, cells, own), _observation_table(test, cells)]
    return tables


@lru_cache(maxsize=16)
def external_cells(scores: Scores, test: ExternalTest, workers: int) -> tuple[Cell, ...]:
    """Return the cells on the films of an external test."""
    runs = _runs(scores, test)
    weights = resample_patients(test.films.patient, len(scores.weights), np.random.default_rng([scores.seed, 0]))
    probabilities = [test.probability(run.name) for run in runs]
    return score_cells(runs, test.films.label, probabilities, weights, seed=scores.seed, workers=workers)


def _own_cells(scores: Scores, test: ExternalTest, workers: int) -> tuple[Cell, ...]:
    """Return the cells of the same runs by the same model on their own test; none where a soup is not stored."""
    runs = _runs(scores, test)
    if test.model == "ensemble" and len(runs) == len(scores.results.runs):
        return scores.cells
    probabilities = [run.test.ensemble if test.model == "ensemble" else run.test.soup for run in runs]
    stored = [probability for probability in probabilities if probability is not None]
    if len(stored) < len(runs):
        return ()
    return score_cells(runs, scores.results.test.label, stored, scores.weights, seed=scores.seed, workers=workers)


def _runs(scores: Scores, test: ExternalTest) -> list[RunResult]:
    return [run for run in scores.results.runs if run.name in test.models]


def _cell_table(scores: Scores, test: ExternalTest, cells: Sequence[Cell], own: Sequence[Cell]) -> Table:
    """Return one row per cell: macro AUROC on the own test and on the external one."""
    names = [name for k, name in enumerate(test.observations) if not np.isnan(cells[0].value[k])]
    evaluated = np.isin(scores.results.observations, names)
    own_by_key = {cell.key: cell for cell in own}
    rows: list[Row] = []
    for cell in cells:
        row: Row = {**cell.names, "seeds": len(cell.runs), **interval_row(cell.macro)}
        if cell.key in own_by_key:
            same = own_by_key[cell.key]
            row |= interval_row(replace(same, value=np.where(evaluated, same.value, np.nan)).macro, "own_")
        rows.append(row)
    columns = (
        *CELL_COLUMNS,
        Column("Own test (95 %)", "own_", "interval"),
        Column(f"{test.name} (95 %)", "", "interval"),
    )
    averaged = ", ".join(name.replace("_", " ") for name in names)
    note = f"Macro AUROC over {averaged or 'nothing: no observation has both classes'}, in both columns."
    if not own:
        note += " The own test is absent: some of the runs stored no soup for it."
    return Table(f"external_{test.name}", f"{test.name}: macro AUROC beside the own test", columns, rows, note)


def _observation_table(test: ExternalTest, cells: Sequence[Cell]) -> Table:
    """Return a row with the numbers of positive films, then one row per cell with the AUROC of each observation."""
    label = test.films.label
    counts: Row = {"architecture": f"positive {test.unit}s", "films": len(label)}
    for k, name in enumerate(test.observations):
        counts[f"{name}_positives"] = int((label[:, k] == 1).sum())
        counts[f"{name}_known"] = int((~np.isnan(label[:, k])).sum())
    rows = [counts]
    for cell in cells:
        row: Row = {**cell.names, "seeds": len(cell.runs)}
        for k, name in enumerate(test.observations):
            row |= interval_row(cell.observation(k), f"{name}_")
        rows.append(row)
    columns: list[Column | str] = [*CELL_COLUMNS, *(_observation_column(name) for name in test.observations)]
    title = f"{test.name}: AUROC (95 %) of every cell by observation"
    return Table(f"external_{test.name}_observations", title, columns, rows)


def _observation_column(name: str) -> Column:
    """Return a column that shows an AUROC with its interval, and in the row of counts the positive films."""
    interval = Column(printed(name), f"{name}_", "interval", digits=2)

    def show(row: Row) -> str:
        if f"{name}_positives" in row:
            return f"{row[f'{name}_positives']} of {row[f'{name}_known']}"
        return interval.show(row)

    return replace(interval, kind=show)


def external_run_table(scores: Scores, test: ExternalTest) -> Table:
    """Return one row per run and seed: the AUROC of each observation on the external films."""
    label, rows = test.films.label, []
    for run in _runs(scores, test):
        probability = test.probability(run.name)
        each = {name: auroc(label[:, k], probability[:, k]) for k, name in enumerate(test.observations)}
        rows.append({**_run_row(run), "macro": macro_auroc(label, probability), **each})
    columns = [
        Column("Run", "run", "words"),
        Column("Macro", "macro", "number"),
        *(Column(printed(name), name, "number") for name in test.observations),
    ]
    return Table(f"external_{test.name}_runs", f"{test.name}: AUROC of every run", columns, rows)


def run_table(scores: Scores, tests: Sequence[ExternalTest]) -> Table:
    """Return one row per run and seed: macro AUROC of its ensemble, best checkpoint and soup on every test.

    A cell is empty if the run does not have the test, or no prediction of this model for it.
    """
    rows = []
    for run in scores.results.runs:
        own = {"ensemble": run.test.ensemble, "best_checkpoint": run.test.best_checkpoint, "soup": run.test.soup}
        row = _run_row(run) | _model_row("test", run.test.label, own)
        for test in tests:
            if run.name in test.models:
                row |= _model_row(test.name, test.films.label, test.models[run.name])
        rows.append(row)
    columns: list[Column | str] = [Column("Run", "run", "words"), "parameters"]
    for name in ("test", *(test.name for test in tests)):
        columns += [
            Column(f"{name}, {model}", f"{name}_{key}", "number")
            for key, model in (("ensemble", "ensemble"), ("best", "best checkpoint"), ("soup", "soup"))
        ]
    note = "Macro AUROC over the observations that have both classes among the films of the test."
    return Table("runs", "Every run, one row per seed", columns, rows, note)


def _run_row(run: RunResult) -> Row:
    names = zip(("architecture", "initialisation", "truncation"), run.cell, strict=True)
    parameters = int(run.done.get("parameters", 0)) or None
    return {"run": run.name, **dict(names), "seed": run.config.get("seed"), "parameters": parameters}


def _model_row(name: str, label: NDArray[np.float32], models: Mapping[str, NDArray[np.float32] | None]) -> Row:
    """Return the macro AUROC of each model as keys of a row; None where a run has no predictions of it."""
    row: Row = {}
    for key, model in (("ensemble", "ensemble"), ("best", "best_checkpoint"), ("soup", "soup")):
        probability = models.get(model)
        row[f"{name}_{key}"] = None if probability is None else macro_auroc(label, probability)
    return row
