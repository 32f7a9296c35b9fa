"""What ensembles add: ten checkpoints against the best one, seeds, and architectures together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xraytransfer.study.bootstrap import Interval, bootstrap_macro, paired_interval
from xraytransfer.study.breakdown import reference_cell
from xraytransfer.study.scores import Cell, Scored
from xraytransfer.study.table import Column, Table, interval_row, show_interval, show_p, text

__all__ = ["ensemble_table"]

Floats = NDArray[np.float64]


def ensemble_table(scored: Scored) -> Table:
    """Return one row per ensemble: its AUROC, and the paired difference to what it is made of.

    Parameters
    ----------
    scored : Scored
        From `score_results`.

    Returns
    -------
    Table
        For each whole network: its kept checkpoints against the best of them (first seed). Then all seeds of
        the reference cell, all pretrained, and all whole networks together, against the reference cell's
        first run.
    """
    rows: list[dict[str, object]] = []
    for cell in (c for c in scored.cells if c.truncation == 0):
        run = cell.runs[0]
        if run.checkpoints > 1:
            compared = _compare(scored, run.test.probability[:, 0], run.test.probability[:, 1])
            name = f"{run.checkpoints} checkpoints: {cell.label}"
            rows.append({"ensemble": name, "against": "its best checkpoint", **compared})
    reference = reference_cell(scored)
    base, whole = reference.runs[0].test.probability[:, 0], [c for c in scored.cells if c.truncation == 0]
    pretrained = [c for c in whole if c.initialisation == "pretrained"]
    groups = [(f"seeds of {reference.label}", [reference]), ("all pretrained whole networks", pretrained)]
    if len(whole) > len(pretrained):
        groups.append(("all whole networks", whole))
    for name, cells in groups:
        probability, members = _mean(cells)
        if members > 1:
            compared = _compare(scored, probability, base)
            against = f"one run of {reference.label}"
            rows.append({"ensemble": f"{members} runs: {name}", "against": against, **compared})
    columns = (
        Column("Ensemble", text("ensemble"), right=False),
        Column("Macro AUROC (95 %)", show_interval()),
        Column("Against", text("against"), right=False),
        Column("Difference (95 %)", show_interval("difference_", signed=True)),
        Column("p", show_p("p")),
    )
    note = "Means of probabilities. Paired bootstrap by patient; p not corrected."
    return Table("ensembles", "What ensembles add", columns, rows, note)


def _mean(cells: list[Cell]) -> tuple[NDArray[np.float32], int]:
    """Return the mean probability over all runs of some cells, and how many runs there are."""
    members = [run.test.probability[:, 0] for cell in cells for run in cell.runs]
    if not members:
        return np.empty(0, np.float32), 0
    mean: NDArray[np.float32] = np.stack(members).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean, len(members)


def _compare(scored: Scored, probability: NDArray[np.float32], base: NDArray[np.float32]) -> dict[str, object]:
    """Return the ensemble's AUROC, and its difference to the base, as keys of a row."""
    label = scored.results.test.label
    one, one_drawn = bootstrap_macro(label, probability, scored.weights)
    two, two_drawn = bootstrap_macro(label, base, scored.weights)
    difference: Interval = paired_interval(one.value - two.value, one_drawn, two_drawn)
    return {**interval_row(one), **interval_row(difference, "difference_"), "p": difference.p}
