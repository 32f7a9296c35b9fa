"""Question 4, how much of a network can be cut off before it reads worse.

Conventions
-----------
A cut is *significantly worse* if the paired difference to the whole network has p < .05 and is negative. No
correction for several cuts is made there: it would make "not worse" easier to claim.
The *largest harmless cut* is the largest with no significantly worse one up to it. Not significantly worse is
not the same as equal: the lower end of the interval, printed beside, says how much worse it may still be.
Parameter efficiency is parameters of the whole network over those of the cut one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from xraytransfer.study.analysis.cells import Cell, Scored
from xraytransfer.study.analysis.cost import Cost
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.table import (
    Answer,
    Column,
    Table,
    interval_row,
    number,
    sentence_number,
    show_interval,
    show_p,
    text,
)

__all__ = ["QUESTION", "answer_truncation", "series"]

QUESTION = "How much can be cut off before a model reads worse?"


def series(scored: Scored) -> list[list[Cell]]:
    """Return, for each architecture and initialisation with at least one cut, the whole network and its cuts."""
    found = []
    for whole in (cell for cell in scored.cells if cell.truncation == 0):
        cuts = [c for c in scored.cells if c.key[:2] == whole.key[:2] and c.truncation > 0]
        if cuts:
            found.append([whole, *sorted(cuts, key=lambda cell: cell.truncation)])
    return found


def answer_truncation(scored: Scored, costs: Mapping[tuple[str, int], Cost]) -> Answer:
    """Return what the runs say about question 4.

    Parameters
    ----------
    scored : Scored
        From `score_results`.
    costs : mapping
        Of architecture and truncation, from `read_costs`; empty where nothing was measured.

    Returns
    -------
    Answer
        Tables ``truncation`` (one row per cut) and ``largest_cut`` (one per architecture).
    """
    found = series(scored)
    if not found:
        sentence = "Cannot be answered from these runs: no architecture was run both whole and with stages removed."
        return Answer("truncation", QUESTION, (sentence,))
    rows: list[dict[str, object]] = []
    largest: list[dict[str, object]] = []
    for whole, *cuts in found:
        rows.append(_row(whole, whole, costs))
        rows += [_row(cut, whole, costs) for cut in cuts]
        largest.append(_largest(whole, cuts))
    verdicts = [_sentence(largest, initialisation) for initialisation in ("pretrained", "random")]
    published = read_published("truncation")[0]
    verdicts.append(
        f"Published: {published.value:.2f} times fewer parameters on average without a significant loss "
        f"({published.who}, {published.source}); removing one block did not hinder, removing more did (The Batch)."
    )
    return Answer("truncation", QUESTION, tuple(v for v in verdicts if v), (_table(rows), _largest_table(largest)))


def _row(cell: Cell, whole: Cell, costs: Mapping[tuple[str, int], Cost]) -> dict[str, object]:
    cost = costs.get((cell.architecture, cell.truncation))
    row: dict[str, object] = {
        "architecture": cell.architecture,
        "initialisation": cell.initialisation,
        "truncation": cell.truncation,
        "seeds": len(cell.runs),
        "parameters": cell.parameters,
        "times_smaller": whole.parameters / cell.parameters if cell.parameters else float("nan"),
        "auroc": cell.macro.value,
        "auroc_lower": cell.macro.lower,
        "auroc_upper": cell.macro.upper,
    }
    if cell is not whole:
        difference = cell.minus(whole)
        row |= {**interval_row(difference), "p": difference.p}
        row["significantly_worse"] = "yes" if _worse(difference.value, difference.p) else "no"
    if cost is not None:
        row |= {"latency_ms": cost.latency_ms, "map": f"{cost.map_rows}x{cost.map_columns}"}
    return row


def _worse(difference: float, p: float) -> bool:
    return difference < 0 and p < 0.05


def _largest(whole: Cell, cuts: list[Cell]) -> dict[str, object]:
    """Return the largest harmless cut of one network; truncation 0 where the first one already hurts."""
    best = whole
    for cut in cuts:
        difference = cut.minus(whole)
        if _worse(difference.value, difference.p):
            break
        best = cut
    row: dict[str, object] = {
        "architecture": whole.architecture,
        "initialisation": whole.initialisation,
        "cuts_tried": ", ".join(str(cut.truncation) for cut in cuts),
        "largest_harmless": best.truncation,
        "times_smaller": whole.parameters / best.parameters if best.parameters else float("nan"),
        "reached_the_end": "yes" if best is cuts[-1] else "no",
    }
    if best is not whole:
        row |= interval_row(best.minus(whole))
    return row


def _sentence(largest: list[dict[str, object]], initialisation: str) -> str:
    rows = [row for row in largest if row["initialisation"] == initialisation]
    if not rows:
        return ""
    parts = []
    for row in rows:
        if row["largest_harmless"] == 0:
            parts.append(f"{row['architecture']}: none, removing one stage already hurts")
            continue
        lower = float(row["lower"])  # type: ignore[arg-type]
        parts.append(
            f"{row['architecture']}: {row['largest_harmless']} of {row['cuts_tried'].split(', ')[-1]} tried, "  # type: ignore[attr-defined]
            f"{row['times_smaller']:.1f} times smaller, AUROC {sentence_number(float(row['value']), signed=True)}"  # type: ignore[arg-type]
            + ("" if math.isnan(lower) else f", at worst {sentence_number(lower, signed=True)}")
        )
    mean = float(np.mean([float(row["times_smaller"]) for row in rows]))  # type: ignore[arg-type]
    return (
        f"{initialisation.capitalize()}, largest cut that is not significantly worse: {'; '.join(parts)}. "
        f"Mean parameter efficiency {mean:.2f} over {len(rows)} architecture{'s' if len(rows) != 1 else ''}."
    )


def _table(rows: list[dict[str, object]]) -> Table:
    columns = (
        Column("Architecture", text("architecture"), right=False),
        Column("Weights", text("initialisation"), right=False),
        Column("Stages removed", text("truncation")),
        Column("Seeds", text("seeds")),
        Column("Parameters, M", number("parameters", 3, times=1e-6)),
        Column("Times smaller", number("times_smaller", 1)),
        Column("Macro AUROC", number("auroc")),
        Column("Minus whole (95 %)", show_interval(signed=True)),
        Column("p", show_p("p")),
        Column("Worse, p < .05", text("significantly_worse")),
        Column("Latency, ms", number("latency_ms", 1)),
        Column("Map", text("map")),
    )
    note = (
        "Paired bootstrap by patient. Latency: fastest of 25 films, one at a time, on one CPU thread in torch, network "
        "alone, at the runs' resolution; for comparison within this table only. Map: size of the activation map."
    )
    return Table("truncation", "Whole networks and cut ones", columns, rows, note)


def _largest_table(rows: list[dict[str, object]]) -> Table:
    columns = (
        Column("Architecture", text("architecture"), right=False),
        Column("Weights", text("initialisation"), right=False),
        Column("Cuts tried", text("cuts_tried")),
        Column("Largest not significantly worse", text("largest_harmless")),
        Column("Times smaller", number("times_smaller", 2)),
        Column("AUROC minus whole (95 %)", show_interval(signed=True)),
        Column("Larger cuts untried", text("reached_the_end")),
    )
    note = "Not significantly worse is not equal: the lower end of the interval says how much worse it may be."
    return Table("largest_cut", "The largest cut that is not significantly worse", columns, rows, note)
