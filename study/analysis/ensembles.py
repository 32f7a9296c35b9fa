"""What ensembles add: ten checkpoints against the best one and against their mean weights, and runs together.

Conventions
-----------
The *ensemble* of a run is the mean of its kept checkpoints' probabilities; the *best* is the one of them with the
highest validation AUROC; the *soup* is one network whose weights are the mean of theirs. All three are evaluated on
the same resampled patients and, where a cell has several seeds, the same seed draws, so differences are paired.
An examination's probability is the maximum over its views.

References
----------
Wortsman et al., Model soups, ICML 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from xraytransfer.study.analysis.cells import Cell, Scores, auroc_interval
from xraytransfer.study.analysis.results_folder import RunPredictions
from xraytransfer.study.analysis.subgroups import reference_cell
from xraytransfer.study.analysis.table import (
    Column,
    Row,
    Table,
    difference_row,
    interval_row,
    interval_text,
    number_text,
    p_sentence,
    span,
)
from xraytransfer.study.stats import Floats
from xraytransfer.study.stats.bootstrap import (
    bootstrap_macro,
    macro_mean,
    observation_replicates,
    paired_interval,
)
from xraytransfer.study.stats.seed_noise import seed_noise

__all__ = ["across_table", "checkpoint_table", "ensemble_verdicts"]

MEAN = "mean of whole networks"

Macro = tuple[float, Floats]
"""A macro AUROC and its replicates, float64, shape (replicates,)."""


def checkpoint_table(scores: Scores, workers: int = 1) -> Table:
    """Return one row per cell: its ensemble, the best checkpoint alone, and the soup, with paired differences.

    Parameters
    ----------
    scores : Scores
        From `score_results`.
    workers : int
        Threads.

    Returns
    -------
    Table
        ``checkpoints``; the last row is the mean over whole networks where there are several. Cells with one
        checkpoint have nothing to average and are left out; a soup is absent where a run stored none.
    """
    cells = [cell for cell in scores.cells if max(run.checkpoints for run in cell.runs) > 1]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        macros = _with_seed_noise(cells, list(pool.map(partial(_macros, weights=scores.weights), cells)), scores)
    rows = [_cell_row(cell) | _comparisons(one) for cell, one in zip(cells, macros, strict=True)]
    whole = [one for cell, one in zip(cells, macros, strict=True) if cell.truncation == 0]
    if len(whole) > 1:
        rows.append({"cell": MEAN} | _comparisons(_mean_macros(whole)))
    columns = (
        Column("Cell", "cell", "words"),
        Column("Ensemble (95 %)", "ensemble_", "interval"),
        Column("Best alone (95 %)", "best_", "interval"),
        Column("Soup (95 %)", "soup_", "interval"),
        Column("Ensemble minus best", "ensemble_minus_best_", "interval", signed=True),
        Column("p", "ensemble_minus_best_p", "p"),
        Column("Soup minus ensemble", "soup_minus_ensemble_", "interval", signed=True),
        Column("p", "soup_minus_ensemble_p", "p"),
    )
    note = (
        "Macro AUROC. Ensemble: mean of the checkpoints' probabilities. Best: the checkpoint with the highest "
        "validation AUROC. Soup: one network, the mean of the checkpoints' weights. Paired bootstrap by patient; p not "
        "corrected; soup minus best stands in the CSV file."
    )
    if any("soup_value" not in row for row in rows):
        note += " \N{EN DASH}: the run stored no soup."
    title = "Kept checkpoints: together, the best alone, and their mean weights"
    return Table("checkpoints", title, columns, rows, note)


def ensemble_verdicts(inside: Table) -> tuple[str, ...]:
    """Return sentences on the last row of `checkpoint_table`: the mean, or the only whole network."""
    if not inside.rows:
        return ("Each run kept one checkpoint: there is no ensemble to compare.",)
    row = inside.rows[-1]
    where = "Over whole networks" if row["cell"] == MEAN else f"For {row['cell']}"
    sentences = []
    for key, what in (
        ("ensemble_minus_best", "the mean of a run's checkpoints against the best of them alone"),
        ("soup_minus_ensemble", "one network with the mean of their weights against the mean of their probabilities"),
    ):
        if f"{key}_value" not in row:
            continue
        value, lower, upper, p = (row[f"{key}_{part}"] for part in ("value", "lower", "upper", "p"))
        ends = "" if np.isnan(lower) else f" (95 % {interval_text(lower, upper, 4, signed=True)}, {p_sentence(p)})"
        sentences.append(f"{where}, {what}: {number_text(value, 4, signed=True)} macro AUROC{ends}.")
    return tuple(sentences)


def across_table(scores: Scores) -> Table | None:
    """Return one row per ensemble of several runs: its AUROC, and the paired difference to one run.

    The ensembles are all seeds of the reference cell, all pretrained whole networks, and all whole networks, each
    against the reference cell's first run; also by examination, where examinations have several films. None where
    no ensemble has two runs.
    """
    reference = reference_cell(scores)
    base = reference.runs[0].test
    examinations = base.several_films
    rows: list[Row] = []
    for name, cells in _groups(scores, reference).items():
        members = [run.test.ensemble for cell in cells for run in cell.runs]
        if len(members) < 2:
            continue
        mean = np.stack(members).mean(axis=0, dtype=np.float64).astype(np.float32)
        row: Row = {"ensemble": f"{len(members)} runs: {name}", "against": f"one run of {reference.label}"}
        row |= _compare(replace(base, ensemble=mean), base, scores.weights)
        if examinations:
            first, second = replace(base, ensemble=mean).by_examination(), base.by_examination()
            compared = _compare(first, second, scores.patient_weights(first.patient))
            row |= {f"examinations_{key}": value for key, value in compared.items()}
        rows.append(row)
    if not rows:
        return None
    columns: list[Column | str] = [
        Column("Ensemble", "ensemble", "words"),
        Column("Macro AUROC (95 %)", "", "interval"),
        Column("Difference (95 %)", "difference_", "interval", signed=True),
        "p",
    ]
    note = f"Means of the runs' ensembles; differences to one run of {reference.label}. "
    note += "Paired bootstrap by patient, without the chance of training; p not corrected."
    if examinations:
        columns += [
            Column("Examinations (95 %)", "examinations_", "interval"),
            Column("Difference (95 %)", "examinations_difference_", "interval", signed=True),
            Column("p", "examinations_p", "p"),
        ]
        note += " Examinations: the maximum over the views."
    return Table("ensembles", "Runs together, across seeds and across architectures", columns, rows, note)


def _macros(cell: Cell, weights: NDArray[np.uint16]) -> dict[str, list[Macro]]:
    """Return for each seed the macro AUROC of ensemble, best checkpoint and, where every run stored one, soup."""
    tests = [run.test for run in cell.runs]
    models = {
        "ensemble": [test.ensemble for test in tests],
        "best": [test.best_checkpoint for test in tests],
        "soup": [test.soup for test in tests if test.soup is not None],
    }
    return {
        name: [
            macro_mean(*observation_replicates(test.label, probability, weights))
            for test, probability in zip(tests, probabilities, strict=True)
        ]
        for name, probabilities in models.items()
        if len(probabilities) == len(tests)
    }


def _with_seed_noise(
    cells: Sequence[Cell], by_seed: Sequence[dict[str, list[Macro]]], scores: Scores
) -> list[dict[str, Macro]]:
    """Return the means over seeds. The ensemble has the replicates of its cell; the others add their difference to it.

    The chance of training of a difference within runs is pooled over cells by itself: it is smaller than that of a run.
    """
    names = [name for name in ("best", "soup") if all(name in one for one in by_seed)]
    differences = [
        np.array([[a[0] - b[0] for a, b in zip(one[name], one["ensemble"], strict=True)] for name in names]).T
        for one in by_seed
    ]
    groups = [cell.initialisation for cell in cells]
    noise = seed_noise(differences, groups, len(scores.weights), scores.generator(52)) if by_seed else []
    found = []
    for cell, one, drawn in zip(cells, by_seed, noise, strict=True):
        patients = {name: np.mean([macro[1] for macro in macros], axis=0) for name, macros in one.items()}
        found.append(
            {
                name: (
                    float(np.mean([macro[0] for macro in macros])),
                    cell.macro_replicates
                    + (patients[name] - patients["ensemble"])
                    + (drawn[:, names.index(name)] if name in names else 0),
                )
                for name, macros in one.items()
            }
        )
    return found


def _mean_macros(macros: Sequence[dict[str, Macro]]) -> dict[str, Macro]:
    """Return the means over cells of what all cells have; a mean over some of them would be another quantity."""
    return {
        name: (float(np.mean([one[name][0] for one in macros])), np.mean([one[name][1] for one in macros], axis=0))
        for name in macros[0]
        if all(name in one for one in macros)
    }


def _cell_row(cell: Cell) -> Row:
    checkpoints = span(run.checkpoints for run in cell.runs)
    return {"cell": cell.label, **cell.names, "seeds": len(cell.runs), "checkpoints": checkpoints}


def _comparisons(macros: dict[str, Macro]) -> Row:
    """Return intervals of ensemble, best and soup, and of their differences, as keys of a row."""
    row: Row = {}
    for name, macro in macros.items():
        row |= interval_row(auroc_interval(*macro), f"{name}_")
    for one, two in (("ensemble", "best"), ("soup", "best"), ("soup", "ensemble")):
        if one in macros and two in macros:
            (value, replicates), (other_value, other_replicates) = macros[one], macros[two]
            difference = paired_interval(value - other_value, replicates, other_replicates)
            row |= difference_row(difference, f"{one}_minus_{two}_")
    return row


def _groups(scores: Scores, reference: Cell) -> dict[str, list[Cell]]:
    """Return the cells whose runs are put together, by the name of the ensemble."""
    whole, pretrained = scores.whole(), scores.whole("pretrained")
    groups = {f"seeds of {reference.label}": [reference], "all pretrained whole networks": pretrained}
    return groups | ({"all whole networks": whole} if len(whole) > len(pretrained) else {})


def _compare(first: RunPredictions, second: RunPredictions, weights: NDArray[np.uint16]) -> Row:
    """Return the first ensemble's macro AUROC, and its difference to the second's, as keys of a row."""
    one, one_replicates = bootstrap_macro(first.label, first.ensemble, weights)
    two, two_replicates = bootstrap_macro(second.label, second.ensemble, weights)
    difference = paired_interval(one.value - two.value, one_replicates, two_replicates)
    return {**interval_row(one), **interval_row(difference, "difference_"), "p": difference.p}
