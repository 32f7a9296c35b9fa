"""How small a network can be: AUROC over parameters, file size and time, and the front that nothing beats.

Conventions
-----------
The best network is the one with the best *validation* AUROC (`reference_cell`), so that the films that judge do not
choose it. A network is *on the front* if no other has both a higher AUROC and fewer parameters. It is *not worse*
if the interval of its paired difference to the best lies above minus the margin. File sizes are computed from the
number of parameters, because a results folder holds no exported files: 4, 2 and 1 bytes each in float32, float16 and
int8. A file of the export is larger by its graph and, in int8, by its scales.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from xraytransfer.study.analysis.cells import Cell, Scores
from xraytransfer.study.analysis.cost import Cost
from xraytransfer.study.analysis.question_truncation import MARGIN
from xraytransfer.study.analysis.subgroups import reference_cell
from xraytransfer.study.analysis.table import (
    Column,
    QuestionAnswer,
    Row,
    Table,
    difference_row,
    interval_row,
    interval_text,
    number_text,
)

__all__ = ["QUESTION", "answer_smallest", "front"]

QUESTION = "How small can a network be?"

BYTES = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes of a weight, by precision."""

Costs = Mapping[tuple[str, int], Cost]


def answer_smallest(
    scores: Scores, costs: Costs, elsewhere: Mapping[str, Sequence[Cell]] | None = None, margin: float = MARGIN
) -> QuestionAnswer:
    """Return the front and the smallest network that is not worse than the best; the table is ``smallest``.

    Parameters
    ----------
    scores : Scores
        All cells.
    costs : mapping
        From `read_costs`, by architecture and truncation; without them times are absent.
    elsewhere : mapping, optional
        Name of an external test -> its cells, from `external_cells`; each adds a column of AUROC.
    margin : float
        AUROC that may be lost.
    """
    best = reference_cell(scores)
    known = [c for c in scores.cells if c.parameters and not math.isnan(c.macro.value)]
    cells = sorted(known, key=lambda cell: (cell.parameters, cell is not best, cell.label))
    if not cells:
        return QuestionAnswer("smallest", QUESTION, ("Cannot be told: no network has parameters and an AUROC.",))
    edge = {cell.key for cell in front(cells)}
    rows = [_row(cell, best, edge, costs, margin) for cell in cells]
    for test, found in (elsewhere or {}).items():
        by_key = {cell.key: cell for cell in found}
        for row, cell in zip(rows, cells, strict=True):
            if cell.key in by_key:
                row |= interval_row(by_key[cell.key].macro, f"{test}_")
    table = _table(rows, best, list(elsewhere or {}), costs, margin)
    return QuestionAnswer("smallest", QUESTION, _verdicts(rows, best, margin), (table,))


def front(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that no other beats in both AUROC and parameters, smallest first."""
    kept: list[Cell] = []
    for cell in sorted(cells, key=lambda one: (one.parameters, -one.macro.value)):
        if not kept or cell.macro.value > kept[-1].macro.value:
            kept.append(cell)
    return kept


def _row(cell: Cell, best: Cell, edge: set[tuple[str, str, int]], costs: Costs, margin: float) -> Row:
    difference = cell.minus(best)
    cost = costs.get((cell.architecture, cell.truncation))
    not_worse = cell is best or difference.lower > -margin
    return {
        "network": cell.label,
        **cell.names,
        "seeds": cell.seeds,
        "parameters": cell.parameters,
        **{f"megabytes_{precision}": cell.parameters * count * 1e-6 for precision, count in BYTES.items()},
        "latency_ms": cost.latency_ms if cost else float("nan"),
        "processor": cost.processor if cost else "",
        **interval_row(cell.macro, "auroc_"),
        **(difference_row(difference) if cell is not best else {}),
        "front": "yes" if cell.key in edge else "no",
        "not_worse": "best" if cell is best else "yes" if not_worse else "no",
    }


def _verdicts(rows: Sequence[Row], best: Cell, margin: float) -> tuple[str, ...]:
    smallest = next(row for row in rows if row["not_worse"] != "no")
    if smallest["not_worse"] == "best":
        first = (
            f"No network smaller than {best.label}, the best by validation AUROC, is shown to lose less than "
            f"{margin:g} AUROC against it."
        )
        others = [row for row in rows if row["not_worse"] != "best"]
        if others:
            nearest = max(others, key=lambda row: row["auroc_value"])
            first += (
                f" Of the others, {nearest['network']} has the highest AUROC on the test films: it differs from that "
                f"network's by {number_text(nearest['value'], signed=True)} "
                f"({interval_text(nearest['lower'], nearest['upper'], signed=True)})."
            )
    else:
        times = best.parameters / smallest["parameters"]
        first = (
            f"{smallest['network']} is the smallest network shown to lose less than {margin:g} AUROC against the best "
            f"({best.label}): {number_text(smallest['value'], signed=True)} "
            f"({interval_text(smallest['lower'], smallest['upper'], signed=True)}), with "
            f"{smallest['parameters'] / 1e6:.2f} million parameters, {times:.1f} times fewer."
        )
    edge = [f"{row['network']} ({number_text(row['auroc_value'])})" for row in rows if row["front"] == "yes"]
    return first, f"Nothing beats these in AUROC at their size or below: {'; '.join(edge)}."


def _table(rows: Sequence[Row], best: Cell, tests: Sequence[str], costs: Costs, margin: float) -> Table:
    columns: tuple[Column | str, ...] = (
        Column("Network", "network", "words"),
        "seeds",
        Column("Parameters, M", "parameters", "number", 2, times=1e-6),
        *(Column(f"MB, {precision}", f"megabytes_{precision}", "number", 1) for precision in BYTES),
        Column("ms", "latency_ms", "number", 1),
        Column("Macro AUROC (95 %)", "auroc_", "interval"),
        Column("Minus the best (95 %)", "", "interval", signed=True),
        Column("Front", "front"),
        Column(f"Within {margin:g}", "not_worse"),
        *(Column(test, f"{test}_", "interval") for test in tests),
    )
    processors = sorted({cost.processor for cost in costs.values() if cost.processor})
    measured = f"on one thread of {' and '.join(processors)}" if processors else "on a processor that was not noted"
    note = (
        f"Best: {best.label}, by validation AUROC. MB: of the weights alone, computed; AUROC is that of float32. "
        f"ms: one film in torch {measured}. Front: nothing has a higher AUROC and fewer parameters."
    )
    return Table("smallest", "Every network by size", columns, rows, note)
