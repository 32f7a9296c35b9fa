"""A section of the model card: heading, text and table."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Section"]


@dataclass(frozen=True)
class Section:
    """A section of the card.

    Attributes
    ----------
    title : str
        Its heading.
    paragraphs : list of str
        Plain text.
    head : list of str
        The table's column names; empty where there is no table.
    rows : list of list of str
        The table's cells.
    """

    title: str
    paragraphs: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
