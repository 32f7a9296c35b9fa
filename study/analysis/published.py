"""Published numbers that are printed beside ours, each with its author and the source where it was read.

`published.csv` holds only numbers that were read at the named source. Where two reports of one number disagree, it
holds both, and both are printed.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources
from typing import Any

__all__ = ["Published", "read_published"]


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes
    ----------
    topic : str
        ``accuracy``, ``boost``, ``size``, ``truncation``, or a data set's name.
    quantity : str
        Name of the quantity; for data sets the identifier of an observation, whose AUROC the number is.
    value : float
        The number.
    who, source, note : str
        Its author, where it was read, and a remark.
    """

    topic: str
    quantity: str
    value: float
    who: str
    source: str
    note: str


def read_published(topic: str) -> list[Published]:
    """Return the published numbers on a topic, in the file's order; none for an unknown topic."""
    lines = resources.files(__package__).joinpath("published.csv").read_text(encoding="utf-8").splitlines()
    rows: list[dict[str, Any]] = [row for row in csv.DictReader(lines) if row["topic"] == topic]
    return [Published(**row | {"value": float(row["value"])}) for row in rows]
