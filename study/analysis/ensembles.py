"""What ensembles add: ten checkpoints against the best one and against their mean weights, and runs together.

Conventions
-----------
The *ensemble* of a run is the mean of its kept checkpoints' probabilities; the *best* is the one of them with the
highest validation AUROC; the *soup* is one network whose weights are the mean of theirs. All three are judged on
the same resampled patients and, where a cell has several seeds, the same drawn seeds, so differences are paired.
An examination's probability is the maximum over its views.

References
----------
Wortsman et al., Model soups, ICML 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xraytransfer.study.analysis.cells import Scored, mix_seeds, replicate_matrix
from xraytransfer.study.analysis.results_folder import RunResult
from xraytransfer.study.analysis.subgroups import reference_cell
from xraytransfer.study.analysis.table import (
    Column,
    Table,
    interval_row,
    p_text,
    sentence_number,
    show_interval,
    show_p,
    text,
)
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.stats.bootstrap import (
    Interval,
    bootstrap_macro,
    paired_interval,
    percentile_interval,
    resample_patients,
)

__all__ = ["across_table", "checkpoint_table", "ensemble_verdicts"]

Floats = NDArray[np.float64]
MEAN = "mean of whole networks"


def checkpoint_table(scored: Scored, workers: int = 1) -> Table:
    """Return one row per cell: its ensemble, the best checkpoint alone, and the soup, with paired differences.

    Parameters
    ----------
    scored : Scored
        From `score_results`.
    workers : int
        Threads.

    Returns
    -------
    Table
        ``checkpoints``; the last row is the mean over whole networks where there are several. Cells with one
        checkpoint have nothing to average and are left out; a soup is absent where a run stored none.
    """
    cells = [cell for cell in scored.cells if max(run.checkpoints for run in cell.runs) > 1]
    wanted = [(run, member) for cell in cells for run in cell.runs for member in (1, 2) if _has(run, member)]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        judged = pool.map(lambda pair: replicate_matrix(pair[0], scored.weights, member=pair[1]), wanted)
        found = dict(zip(((run.name, member) for run, member in wanted), judged, strict=True))
    rows: list[dict[str, object]] = []
    macros: list[list[tuple[float, Floats]]] = []
    for cell in cells:
        sides = [(cell.macro.value, cell.macro_drawn)]
        for member in (1, 2):
            if all(_has(run, member) for run in cell.runs):
                values, drawn = zip(*(found[run.name, member] for run in cell.runs), strict=True)
                other = replace(cell, value=np.mean(values, axis=0), drawn=mix_seeds(np.stack(drawn), cell.seeds_drawn))
                sides.append((other.macro.value, other.macro_drawn))
        kept = sorted({run.checkpoints for run in cell.runs})
        row: dict[str, object] = {
            "cell": cell.label,
            "architecture": cell.architecture,
            "initialisation": cell.initialisation,
            "truncation": cell.truncation,
            "seeds": len(cell.runs),
            "checkpoints": " to ".join(str(n) for n in (kept if len(kept) < 2 else (kept[0], kept[-1]))),
        }
        rows.append(row | _sides(sides))
        if cell.truncation == 0:
            macros.append(sides)
    if len(macros) > 1:
        # a mean over some of the cells would be another quantity
        count = min(len(sides) for sides in macros)
        means = [
            (float(np.mean([s[side][0] for s in macros])), np.mean([s[side][1] for s in macros], axis=0))
            for side in range(count)
        ]
        rows.append({"cell": MEAN} | _sides(means))
    columns = (
        Column("Cell", text("cell"), right=False),
        Column("Ensemble (95 %)", show_interval("ensemble_")),
        Column("Best alone (95 %)", show_interval("best_")),
        Column("Soup (95 %)", show_interval("soup_")),
        Column("Ensemble minus best", show_interval("ensemble_minus_best_", signed=True)),
        Column("p", show_p("ensemble_minus_best_p")),
        Column("Soup minus ensemble", show_interval("soup_minus_ensemble_", signed=True)),
        Column("p", show_p("soup_minus_ensemble_p")),
    )
    note = (
        "Macro AUROC. Ensemble: mean of the checkpoints' probabilities. Best: the checkpoint with the highest "
        "validation AUROC. Soup: one network, the mean of the checkpoints' weights. Paired bootstrap by patient; p not "
        "corrected; soup minus best stands in the CSV file."
    )
    if any("soup_value" not in row for row in rows):
        note += " \N{EN DASH}: the run stored no soup."
    return Table(
        "checkpoints", "Kept checkpoints: together, the best alone, and their mean weights", columns, rows, note
    )


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
        value, lower, upper = (row.get(f"{key}_{part}") for part in ("value", "lower", "upper"))
        if not (isinstance(value, float) and isinstance(lower, float) and isinstance(upper, float)):
            continue
        ends = f"{sentence_number(lower, 4, signed=True)} to {sentence_number(upper, 4, signed=True)}"
        shown = "" if np.isnan(lower) else f" (95 % {ends}, p = {p_text(row.get(f'{key}_p'))})".replace("= <", "< ")
        sentences.append(f"{where}, {what}: {sentence_number(value, 4, signed=True)} macro AUROC{shown}.")
    return tuple(sentences)


def across_table(scored: Scored) -> Table | None:
    """Return one row per ensemble of several runs: its AUROC, and the paired difference to one run.

    All seeds of the reference cell, all pretrained whole networks, and all whole networks, each against the
    reference cell's first run; by examination too, where examinations have several films. None where there are no
    two runs to put together.
    """
    reference = reference_cell(scored)
    base, whole = reference.runs[0].test, [c for c in scored.cells if c.truncation == 0]
    pretrained = [c for c in whole if c.initialisation == "pretrained"]
    groups = [(f"seeds of {reference.label}", [reference]), ("all pretrained whole networks", pretrained)]
    if len(whole) > len(pretrained):
        groups.append(("all whole networks", whole))
    examinations = len(np.unique(base.examination)) < len(base.image)
    rows: list[dict[str, object]] = []
    for name, cells in groups:
        members = [run.test.probability[:, 0] for cell in cells for run in cell.runs]
        if len(members) < 2:
            continue
        mean = np.stack(members).mean(axis=0, dtype=np.float64).astype(np.float32)
        row: dict[str, object] = {
            "ensemble": f"{len(members)} runs: {name}",
            "against": f"one run of {reference.label}",
            **_compare(base, mean, scored.weights),
        }
        if examinations:
            row |= _by_examination(base, mean, scored)
        rows.append(row)
    if not rows:
        return None
    columns = [
        Column("Ensemble", text("ensemble"), right=False),
        Column("Macro AUROC (95 %)", show_interval()),
        Column("Difference (95 %)", show_interval("difference_", signed=True)),
        Column("p", show_p("p")),
    ]
    note = f"Means of the runs' ensembles; differences to one run of {reference.label}. "
    note += "Paired bootstrap by patient; p not corrected."
    if examinations:
        columns += [
            Column("Examinations (95 %)", show_interval("examinations_")),
            Column("Difference (95 %)", show_interval("examinations_difference_", signed=True)),
            Column("p", show_p("examinations_p")),
        ]
        note += " Examinations: the maximum over the views."
    return Table("ensembles", "Runs together, across seeds and across architectures", columns, rows, note)


def _has(run: RunResult, member: int) -> bool:
    return member < 2 or run.test.soup is not None


def _sides(sides: Sequence[tuple[float, Floats]]) -> dict[str, object]:
    """Return intervals of ensemble, best and soup, and of their differences, as keys of a row."""
    names = ("ensemble", "best", "soup")
    row: dict[str, object] = {}
    for name, (value, drawn) in zip(names, sides, strict=False):
        row |= interval_row(percentile_interval(value, drawn), f"{name}_")
    for one, two in ((0, 1), (2, 1), (2, 0)):
        if max(one, two) < len(sides):
            difference = paired_interval(sides[one][0] - sides[two][0], sides[one][1], sides[two][1])
            key = f"{names[one]}_minus_{names[two]}_"
            row |= {**interval_row(difference, key), f"{key}p": difference.p}
    return row


def _compare(base: Predictions, mean: NDArray[np.float32], weights: NDArray[np.uint16]) -> dict[str, object]:
    """Return an ensemble's AUROC, and its difference to the base's first member, as keys of a row."""
    one, one_drawn = bootstrap_macro(base.label, mean, weights)
    two, two_drawn = bootstrap_macro(base.label, base.probability[:, 0], weights)
    difference: Interval = paired_interval(one.value - two.value, one_drawn, two_drawn)
    return {**interval_row(one), **interval_row(difference, "difference_"), "p": difference.p}


def _by_examination(base: Predictions, mean: NDArray[np.float32], scored: Scored) -> dict[str, object]:
    """Return what `_compare` does, one row per examination."""
    both = replace(base, probability=np.stack([base.probability[:, 0], mean], axis=1)).by_examination()
    weights = resample_patients(both.patient, len(scored.weights), np.random.default_rng([scored.seed, 0]))
    row = _compare(both, both.probability[:, 1], weights)
    return {f"examinations_{key}": value for key, value in row.items()}
