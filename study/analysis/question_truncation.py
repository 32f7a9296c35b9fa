"""Question 4: how much of a network can be cut off before it reads worse.

Conventions
-----------
A cut is *significantly worse* if its paired difference to the whole network is negative and has p < .05. There is
no correction for several cuts, because it would make "not worse" easier to claim.
The *largest harmless cut* is the last one before the first cut that is significantly worse. Not significantly
worse does not mean equal, and is the easier to reach the fewer films there are. Therefore the *largest cut within the
margin* stands beside it: the last one before the first cut whose interval reaches below minus the margin
(non-inferiority).
Parameter efficiency is the number of parameters of the whole network over that of the cut one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import takewhile

import numpy as np

from xraytransfer.study.analysis.cells import INITIALISATIONS, Cell, Scores
from xraytransfer.study.analysis.cost import Cost
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.table import (
    Column,
    QuestionAnswer,
    Row,
    Table,
    difference_row,
    interval_row,
    number_text,
)
from xraytransfer.study.stats.bootstrap import Interval

__all__ = ["MARGIN", "QUESTION", "answer_truncation", "largest_cuts", "series"]

MARGIN = 0.01
"""AUROC that a smaller network may lose and still count as not worse."""

QUESTION = "How much can be cut off before a model reads worse?"


def series(scores: Scores) -> list[list[Cell]]:
    """Return, for each architecture and initialisation with at least one cut, the whole network and its cuts."""
    groups = [[cell for cell in scores.cells if cell.key[:2] == whole.key[:2]] for whole in scores.whole()]
    return [sorted(cells, key=lambda cell: cell.truncation) for cells in groups if len(cells) > 1]


def answer_truncation(scores: Scores, costs: Mapping[tuple[str, int], Cost], margin: float = MARGIN) -> QuestionAnswer:
    """Return what the runs say about question 4.

    The tables are ``truncation`` (one row per cut) and ``largest_cut`` (one per architecture). `costs` are those of
    `read_costs`, by architecture and truncation; empty where nothing was measured.
    """
    networks = series(scores)
    if not networks:
        sentence = "Cannot be answered from these runs: no architecture was run both whole and with stages removed."
        return QuestionAnswer("truncation", QUESTION, (sentence,))
    rows = [_row(cell, cells[0], costs) for cells in networks for cell in cells]
    largest = largest_cuts(scores, margin)
    verdicts = [
        sentence
        for initialisation in INITIALISATIONS
        for sentence in (_sentence(largest, initialisation), _margin_sentence(largest, initialisation, margin))
    ]
    published = read_published("truncation")[0]
    verdicts.append(
        f"Published: {published.value:.2f} times fewer parameters on average without a significant loss "
        f"({published.who}, {published.source}); removing one block did not hinder, removing more did (The Batch)."
    )
    return QuestionAnswer(
        "truncation", QUESTION, tuple(v for v in verdicts if v), (_table(rows), _largest_table(largest, margin))
    )


def _row(cell: Cell, whole: Cell, costs: Mapping[tuple[str, int], Cost]) -> Row:
    cost = costs.get((cell.architecture, cell.truncation))
    row: Row = {
        **cell.names,
        "seeds": cell.seeds,
        "parameters": cell.parameters,
        "times_smaller": whole.parameters / cell.parameters if cell.parameters else float("nan"),
        "auroc": cell.macro.value,
        "auroc_lower": cell.macro.lower,
        "auroc_upper": cell.macro.upper,
    }
    if cell is not whole:
        difference = cell.minus(whole)
        row |= {**difference_row(difference), "significantly_worse": "yes" if _worse(difference) else "no"}
    if cost is not None:
        row |= {"latency_ms": cost.latency_ms, "map": f"{cost.map_rows}x{cost.map_columns}"}
    return row


def _worse(difference: Interval) -> bool:
    return difference.value < 0 and difference.p < 0.05


def largest_cuts(scores: Scores, margin: float = MARGIN) -> list[Row]:
    """Return one row for each network with cuts: the largest harmless one, and the largest within the margin."""
    return [_largest(whole, cuts, margin) for whole, *cuts in series(scores)]


def _largest(whole: Cell, cuts: list[Cell], margin: float) -> Row:
    """Return the largest cuts of one network; truncation 0 where already the first one fails."""
    best = _last_before(whole, cuts, _worse)
    within = _last_before(whole, cuts, lambda difference: not difference.lower > -margin)
    row: Row = {
        "architecture": whole.architecture,
        "initialisation": whole.initialisation,
        "cuts_tried": ", ".join(str(cut.truncation) for cut in cuts),
        "largest_harmless": best.truncation,
        "times_smaller": _times(whole, best),
        "reached_the_end": "yes" if best is cuts[-1] else "no",
        "within_margin": within.truncation,
        "within_times_smaller": _times(whole, within),
    }
    row |= interval_row(best.minus(whole)) if best is not whole else {}
    return row | (interval_row(within.minus(whole), "within_") if within is not whole else {})


def _last_before(whole: Cell, cuts: list[Cell], fails: Callable[[Interval], bool]) -> Cell:
    """Return the last cut before the first whose difference to the whole network fails."""
    passed = takewhile(lambda cut: not fails(cut.minus(whole)), cuts)
    return ([whole, *passed])[-1]


def _times(whole: Cell, cut: Cell) -> float:
    return whole.parameters / cut.parameters if cut.parameters else float("nan")


def _margin_sentence(largest: list[Row], initialisation: str, margin: float) -> str:
    rows = [row for row in largest if row["initialisation"] == initialisation]
    if not rows:
        return ""
    parts = [
        f"{row['architecture']} {row['within_margin']} stage{'s' if row['within_margin'] != 1 else ''} "
        f"({row['within_times_smaller']:.1f} times smaller)"
        for row in rows
        if row["within_margin"]
    ]
    none = [row["architecture"] for row in rows if not row["within_margin"]]
    mean = float(np.mean([row["within_times_smaller"] for row in rows]))
    return (
        f"{initialisation.capitalize()}, largest cut shown to lose less than {margin:g} AUROC: "
        + "; ".join(parts + ([f"none of {', '.join(none)}"] if none else []))
        + f". Mean parameter efficiency {mean:.2f}, cuts that are not shown counted as 1."
    )


def _sentence(largest: list[Row], initialisation: str) -> str:
    rows = [row for row in largest if row["initialisation"] == initialisation]
    if not rows:
        return ""
    parts = []
    for row in rows:
        if row["largest_harmless"] == 0:
            first = row["cuts_tried"].split(", ")[0]
            stages = "one stage" if first == "1" else f"{first} stages"
            parts.append(f"{row['architecture']}: none, removing {stages} already hurts")
            continue
        parts.append(
            f"{row['architecture']}: {row['largest_harmless']} of {row['cuts_tried'].split(', ')[-1]} tried, "
            f"{row['times_smaller']:.1f} times smaller, AUROC {number_text(row['value'], signed=True)}"
            + ("" if math.isnan(row["lower"]) else f", at worst {number_text(row['lower'], signed=True)}")
        )
    mean = float(np.mean([row["times_smaller"] for row in rows]))
    return (
        f"{initialisation.capitalize()}, largest cut that is not significantly worse: {'; '.join(parts)}. "
        f"Mean parameter efficiency {mean:.2f} over {len(rows)} architecture{'s' if len(rows) != 1 else ''}."
    )


def _table(rows: list[Row]) -> Table:
    columns = (
        "architecture",
        "initialisation",
        Column("Stages removed", "truncation"),
        "seeds",
        Column("Parameters, M", "parameters", "number", 3, times=1e-6),
        Column("Times smaller", "times_smaller", "number", 1),
        Column("Macro AUROC", "auroc", "number"),
        Column("Minus whole (95 %)", "", "interval", signed=True),
        "p",
        Column("Worse, p < .05", "significantly_worse"),
        Column("Latency, ms", "latency_ms", "number", 1),
        Column("Map", "map"),
    )
    note = (
        "Paired bootstrap by patient. Latency: fastest of 25 films, one at a time, on one CPU thread in torch, network "
        "alone, at the runs' resolution; for comparison within this table only. Map: size of the activation map."
    )
    return Table("truncation", "Whole networks and cut ones", columns, rows, note)


def _largest_table(rows: list[Row], margin: float) -> Table:
    columns = (
        "architecture",
        "initialisation",
        Column("Cuts tried", "cuts_tried"),
        Column("Largest not significantly worse", "largest_harmless"),
        Column("Times smaller", "times_smaller", "number", 2),
        Column("AUROC minus whole (95 %)", "", "interval", signed=True),
        Column("Larger cuts untried", "reached_the_end"),
        Column(f"Largest within {margin:g}", "within_margin"),
        Column("Times smaller", "within_times_smaller", "number", 2),
        Column("AUROC minus whole (95 %)", "within_", "interval", signed=True),
    )
    note = (
        "Not significantly worse is not equal: the lower end of the interval says how much worse it may be. Within the "
        f"margin: the whole interval lies above {number_text(-margin, 2)}; 0: no cut does."
    )
    return Table("largest_cut", "The largest cut that is not significantly worse", columns, rows, note)
