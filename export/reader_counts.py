"""How many readers a model reaches: the one count that the model file holds and the card prints."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ReaderCount", "count_readers"]


@dataclass
class ReaderCount:
    """The readers of one observation.

    Attributes
    ----------
    readers : int
        Those who named the observation at all; a reader who never does is equalled by any model.
    equalled : int
        Of these, how many have a sensitivity that the model's reaches at their specificity.
    not_worse : int
        Of these, than how many the model is not shown to be worse: the interval of the difference does not lie wholly
        below 0.
    """

    readers: int = 0
    equalled: int = 0
    not_worse: int = 0


def count_readers(rows: Iterable[Mapping[str, Any]], others: Collection[str | None]) -> dict[str, ReaderCount]:
    """Return the counts of each observation, in the order of the rows.

    Parameters
    ----------
    rows : iterable of mapping
        ``readers`` of a part of an external test, see `xraytransfer.export.checks.external_evaluation`.
    others : collection of str or None
        Names in the column ``reader`` that are no single person: the average reader, other labels.
    """
    counts: dict[str, ReaderCount] = {}
    for row in rows:
        if row["reader"] in others:
            continue
        count = counts.setdefault(str(row["observation"]), ReaderCount())
        if row["sensitivity"] and row["difference"] is not None:
            count.readers += 1
            count.equalled += row["difference"] >= 0
            count.not_worse += row["upper"] is not None and row["upper"] >= 0
    return counts
