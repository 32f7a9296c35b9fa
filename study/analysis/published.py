"""Published numbers to stand beside ours: each with who said it and where it was read.

Only numbers that were read at the named source are in `published.csv`. Where two reports of one number
disagree, both are there, and both are printed.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

__all__ = ["Published", "read_published"]


@dataclass(frozen=True)
class Published:
    """One published number.

    Attributes
    ----------
    topic : str
        ``accuracy``, ``boost``, ``size``, ``truncation``, or a data set's name.
    quantity : str
        What it is; for data sets the observation's identifier, and then the number is its AUROC.
    value : float
        The number.
    who, source, note : str
        Whose it is, where it was read, and what to know.
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
    return [
        Published(row["topic"], row["quantity"], float(row["value"]), row["who"], row["source"], row["note"])
        for row in csv.DictReader(lines)
        if row["topic"] == topic
    ]
