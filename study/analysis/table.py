"""A table of the report: rows of raw numbers for CSV, and their presentation in Markdown and HTML."""

from __future__ import annotations

import csv
import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xraytransfer.study.stats.bootstrap import Interval
from xraytransfer.study.stats.correlation import holm

__all__ = [
    "Column",
    "QuestionAnswer",
    "Row",
    "Table",
    "add_holm",
    "difference_row",
    "interval_row",
    "interval_text",
    "number_text",
    "p_sentence",
    "p_text",
    "paired_note",
    "printed",
    "span",
]

Row = dict[str, Any]
"""Raw values of one row, by column of the CSV file."""

ABSENT = "\N{EN DASH}"
"""Shown where there is no number; a CSV cell is then empty."""


@dataclass(frozen=True)
class Column:
    """How one column is shown.

    Attributes
    ----------
    title : str
        Its heading.
    key : str
        The key of its value in a row; of an interval, the prefix that `interval_row` took.
    kind : str or callable
        ``words`` (aligned to the left), ``name`` (an identifier as readers see it), ``text`` or whole numbers,
        ``number``, ``interval`` as ``value (lower to upper)``, ``p``, or a function from a row to text.
    digits : int
        Digits of numbers after the point.
    signed : bool
        Whether a plus is shown.
    times : float
        Factor for numbers, such as 1e-6 for millions.
    """

    title: str
    key: str
    kind: Literal["words", "name", "text", "number", "interval", "p"] | Callable[[Row], str] = "text"
    digits: int = 3
    signed: bool = False
    times: float = 1.0

    @property
    def right(self) -> bool:
        """Whether the cells are aligned to the right, as numbers are."""
        return self.kind not in ("words", "name")

    def show(self, row: Row) -> str:
        """Return the text of a row's cell."""
        if callable(self.kind):
            return self.kind(row)
        value = row.get(self.key)
        if self.kind == "p":
            return p_text(value)
        if self.kind == "number":
            return self._number(value)
        if self.kind == "interval":
            value, lower, upper = (self._number(row.get(self.key + part)) for part in ("value", "lower", "upper"))
            return value if ABSENT in (value, lower) else f"{value} ({lower} to {upper})"
        if value is None or value == "":
            return ABSENT
        return printed(str(value)) if self.kind == "name" else str(value)

    def _number(self, value: object) -> str:
        scaled = value * self.times if isinstance(value, int | float) else None
        return number_text(scaled, self.digits, signed=self.signed)


COLUMNS = {
    "architecture": Column("Architecture", "architecture", "words"),
    "family": Column("Family", "family", "words"),
    "initialisation": Column("Weights", "initialisation", "words"),
    "truncation": Column("Removed", "truncation"),
    "seeds": Column("Seeds", "seeds"),
    "observation": Column("Observation", "observation", "name"),
    "parameters": Column("Parameters, M", "parameters", "number", 2, times=1e-6),
    "p": Column("p", "p", "p"),
    "p_holm": Column("p, Holm", "p_holm", "p"),
    "ece": Column("ECE", "ece", "number"),
    "brier": Column("Brier", "brier", "number"),
}
"""Columns of several tables, by key. A table may name them by it."""


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    name : str
        Name of its CSV file, without ending.
    title : str
        One line above it.
    columns : sequence of Column or str
        The columns that are shown; a string is a key of `COLUMNS`.
    rows : sequence of dict
        Raw values; the columns of the CSV file are the keys of all rows, in order of first appearance.
    note : str
        Facts that a reader needs to understand the table; empty for none.
    """

    name: str
    title: str
    columns: Sequence[Column | str]
    rows: Sequence[Row]
    note: str = ""

    @property
    def shown(self) -> list[Column]:
        """The columns that are shown."""
        return [COLUMNS[column] if isinstance(column, str) else column for column in self.columns]

    def write_csv(self, folder: Path) -> Path:
        """Write ``<name>.csv``; numbers with all their digits, NaN and None as empty cells."""
        path = folder / f"{self.name}.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            keys = list(dict.fromkeys(key for row in self.rows for key in row))
            writer.writerow(keys)
            writer.writerows([_raw(row.get(key)) for key in keys] for row in self.rows)
        return path

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = ["| " + " | ".join(column.title.replace("|", "\\|") for column in self.shown) + " |"]
        lines.append("| " + " | ".join("---:" if column.right else "---" for column in self.shown) + " |")
        for row in self.rows:
            lines.append("| " + " | ".join(column.show(row).replace("|", "\\|") for column in self.shown) + " |")
        note = f"\n\n{self.note}" if self.note else ""
        return f"**{self.title}**\n\n" + "\n".join(lines) + note + "\n"

    def html(self) -> str:
        """Return the table as HTML."""

        def cell(kind: str, column: Column, text: str) -> str:
            style = ' class="n"' if column.right else ""
            return f"<{kind}{style}>{html.escape(text).replace(' %)', '&nbsp;%)')}</{kind}>"

        head = "".join(cell("th", column, column.title) for column in self.shown)
        body = "".join(
            "<tr>" + "".join(cell("td", column, column.show(row)) for column in self.shown) + "</tr>\n"
            for row in self.rows
        )
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        return (
            f'<div class="table"><table><caption>{html.escape(self.title)}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>{note}\n"
        )


@dataclass(frozen=True)
class QuestionAnswer:
    """A question of the study, and what these runs say about it.

    Attributes
    ----------
    slug : str
        For anchors and file names.
    question : str
        The question as a sentence.
    verdicts : tuple of str
        Sentences; the first is the shortest. That a question cannot be answered is a verdict too.
    tables : tuple of Table
        What the verdicts rest on; empty where there is nothing to show.
    """

    slug: str
    question: str
    verdicts: tuple[str, ...]
    tables: tuple[Table, ...] = ()


def number_text(value: object, digits: int = 3, *, signed: bool = False) -> str:
    """Return a number as text, with a true minus sign and no minus zero; `ABSENT` for NaN and for no number.

    Parameters
    ----------
    value : object
        The number.
    digits : int
        Digits after the point.
    signed : bool
        Whether a plus is shown.
    """
    if not isinstance(value, int | float) or math.isnan(value):
        return ABSENT
    shown = f"{value:{'+' if signed else ''},.{digits}f}"
    if shown.startswith("-") and not shown.strip("-0.,"):
        shown = shown[1:]
    return shown.replace("-", "\N{MINUS SIGN}")


def p_text(value: object) -> str:
    """Return a p value as text: three digits, ``<.001`` below."""
    if not isinstance(value, int | float) or math.isnan(value):
        return ABSENT
    return "<.001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


def p_sentence(value: object) -> str:
    """Return ``p = .012``, or ``p < .001``, for a sentence."""
    return f"p = {p_text(value)}".replace("= <", "< ")


def interval_text(lower: object, upper: object, digits: int = 3, *, signed: bool = False) -> str:
    """Return ``lower to upper`` for a sentence."""
    return f"{number_text(lower, digits, signed=signed)} to {number_text(upper, digits, signed=signed)}"


def interval_row(interval: Interval, prefix: str = "") -> Row:
    """Return an interval as keys of a row: value, lower, upper."""
    return {f"{prefix}{part}": getattr(interval, part) for part in ("value", "lower", "upper")}


def difference_row(interval: Interval, prefix: str = "") -> Row:
    """Return a difference as keys of a row: value, lower, upper, p."""
    return {**interval_row(interval, prefix), f"{prefix}p": interval.p}


def add_holm(rows: Sequence[Row]) -> None:
    """Add to each row ``p_holm``: its ``p``, corrected for all rows."""
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = float(p)


def paired_note(tests: int, replicates: int) -> str:
    """Return the note of a table of paired differences, with the smallest p that so many replicates can give."""
    floor = 2 / (replicates + 1)
    note = f"Paired bootstrap by patient. With {replicates:,} replicates no p is below {p_text(floor)}"
    if tests > 1:
        note += f", and none of {tests} below {p_text(min(1.0, floor * tests))} after Holm's correction"
    if floor * tests >= 0.05:
        note += ": nothing here can be significant; `--replicates` takes more"
    return note + "."


def span(numbers: Iterable[int]) -> str:
    """Return the least and the greatest number, ``1 to 3``, or the only one."""
    ends = sorted(set(numbers))
    return " to ".join(str(end) for end in (ends if len(ends) < 2 else (ends[0], ends[-1])))


def printed(identifier: str) -> str:
    """Return an observation's name for readers: ``Pleural effusion``."""
    return identifier.replace("_", " ").capitalize()


def _raw(value: object) -> object:
    """Return a CSV cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else value
