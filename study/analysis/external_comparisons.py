"""What pretraining adds and cutting costs, by the labels of every test side by side.

Conventions
-----------
A comparison is the paired difference of two cells: pretrained minus random for a whole network, and cut minus whole.
Each test compares the runs that it has; its differences are means over the observations with both classes among its
own films, and intervals resample its own patients. The mean over networks is one comparison, with all of them on the
same resampled patients. No p is given: the questions are answered on the own test, and this table says whether
another judge would have answered otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xraytransfer.study.analysis.cells import Cell, Scores
from xraytransfer.study.analysis.external_tables import external_cells
from xraytransfer.study.analysis.external_tests import ExternalTest
from xraytransfer.study.analysis.question_truncation import series
from xraytransfer.study.analysis.relations import pairs
from xraytransfer.study.analysis.table import Column, Row, Table, interval_row
from xraytransfer.study.stats.bootstrap import Interval, paired_interval

__all__ = ["comparison_tables"]

Key = tuple[str, str, int]
"""Architecture, initialisation and truncation of a cell."""


@dataclass(frozen=True)
class _Comparison:
    """One network, or the mean of several, on two sides."""

    what: str
    network: str
    pairs: tuple[tuple[Key, Key], ...]


def comparison_tables(scores: Scores, tests: Sequence[ExternalTest], workers: int = 1) -> list[Table]:
    """Return the table ``comparisons``: a row for each comparison, a difference for each test.

    Parameters
    ----------
    scores : Scores
        The runs on their own test films.
    tests : sequence of ExternalTest
        From `read_external_tests`.
    workers : int
        Threads.

    Returns
    -------
    list of Table
        Empty where there is no external test, or nothing to compare.
    """
    comparisons = _comparisons(scores)
    if not tests or not comparisons:
        return []
    judges = {"test": scores.cells, **{test.name: external_cells(scores, test, workers) for test in tests}}
    rows = [_row(comparison, judges) for comparison in comparisons]
    columns = [
        Column("Comparison", "comparison", "words"),
        Column("Network", "network", "words"),
        Column("Own test (95 %)", "test_", "interval", signed=True),
        *(Column(f"{test.name} (95 %)", f"{test.name}_", "interval", signed=True) for test in tests),
    ]
    note = (
        "Paired differences of macro AUROC; intervals by patient of each test, with the chance of training where two "
        "seeds show it. Each test compares the runs that it has, over the observations with both classes in its films."
    )
    soups = [test.name for test in tests if test.model != "ensemble"]
    if soups:
        note += f" Other than in the own test, models of {', '.join(soups)} are soups."
    return [Table("comparisons", "Pretraining and truncation by every judge", columns, rows, note)]


def _comparisons(scores: Scores) -> list[_Comparison]:
    """Return the comparisons of single networks, each kind followed by its mean over networks."""
    kinds: dict[str, list[tuple[Key, Key]]] = defaultdict(list)
    for pretrained, random in pairs(scores):
        kinds["pretrained minus random"].append((pretrained.key, random.key))
    for whole, *cuts in sorted(series(scores), key=lambda cells: cells[0].initialisation):
        for cut in cuts:
            stages = f"{cut.truncation} stage{'s' if cut.truncation > 1 else ''} removed"
            kinds[f"{stages}, minus whole, {cut.initialisation}"].append((cut.key, whole.key))
    rows = []
    for what, keys in kinds.items():
        rows += [_Comparison(what, one[0], ((one, other),)) for one, other in keys]
        if len(keys) > 1:
            rows.append(_Comparison(what, f"mean of {len(keys)}", tuple(keys)))
    return rows


def _row(comparison: _Comparison, judges: Mapping[str, Sequence[Cell]]) -> Row:
    """Return a row of the table; a judge that lacks one of the cells has no numbers in it."""
    row: Row = {"comparison": comparison.what, "network": comparison.network}
    for judge, cells in judges.items():
        by_key = {cell.key: cell for cell in cells}
        if all(key in by_key for pair in comparison.pairs for key in pair):
            row |= interval_row(
                _difference([(by_key[one], by_key[other]) for one, other in comparison.pairs]), f"{judge}_"
            )
    return row


def _difference(cells: Sequence[tuple[Cell, Cell]]) -> Interval:
    """Return the mean paired difference of some pairs of cells."""
    values = [one.macro.value - other.macro.value for one, other in cells]
    first = np.mean([one.macro_replicates for one, _ in cells], axis=0)
    second = np.mean([other.macro_replicates for _, other in cells], axis=0)
    return paired_interval(float(np.mean(values)), first, second)
