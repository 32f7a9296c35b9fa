"""A table of the report: rows of raw numbers for CSV, and how people see them in Markdown and HTML."""

from __future__ import annotations

import csv
import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xraytransfer.study.stats.bootstrap import Interval

__all__ = ["Answer", "Column", "Row", "Table", "interval_row", "number", "show_interval", "show_p"]

Row = Mapping[str, object]

ABSENT = "\N{EN DASH}"
"""Shown where there is no number; a CSV cell is then empty."""


@dataclass(frozen=True)
class Column:
    """How one column is shown.

    Attributes
    ----------
    title : str
        Its heading.
    show : callable
        From a row to text.
    right : bool
        Whether it is a column of numbers.
    """

    title: str
    show: Callable[[Row], str]
    right: bool = True


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    name : str
        Of its CSV file.
    title : str
        One line above it.
    columns : sequence of Column
        As shown.
    rows : sequence of mapping
        Raw values; the keys of the first row are the columns of the CSV file.
    note : str
        What a reader must know to read it rightly; empty for none.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""

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
        lines = ["| " + " | ".join(column.title for column in self.columns) + " |"]
        lines.append("| " + " | ".join("---:" if column.right else "---" for column in self.columns) + " |")
        for row in self.rows:
            lines.append("| " + " | ".join(column.show(row).replace("|", "\\|") for column in self.columns) + " |")
        note = f"\n\n{self.note}" if self.note else ""
        return f"**{self.title}**\n\n" + "\n".join(lines) + note + "\n"

    def html(self) -> str:
        """Return the table as HTML."""

        def cell(kind: str, column: Column, text: str) -> str:
            style = ' class="n"' if column.right else ""
            return f"<{kind}{style}>{html.escape(text).replace(' %)', '&nbsp;%)')}</{kind}>"

        head = "".join(cell("th", column, column.title) for column in self.columns)
        body = "".join(
            "<tr>" + "".join(cell("td", column, column.show(row)) for column in self.columns) + "</tr>\n"
            for row in self.rows
        )
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        return (
            f'<div class="table"><table><caption>{html.escape(self.title)}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>{note}\n"
        )


@dataclass(frozen=True)
class Answer:
    """A question, and what these runs say to it.

    Attributes
    ----------
    slug : str
        For anchors and file names.
    question : str
        As a sentence.
    verdicts : tuple of str
        Sentences; the first is the shortest. That a question cannot be answered is a verdict too.
    tables : tuple of Table
        What the verdicts rest on; empty where there is nothing to show.
    """

    slug: str
    question: str
    verdicts: tuple[str, ...]
    tables: tuple[Table, ...] = ()


def number(key: str, digits: int = 3, *, signed: bool = False, times: float = 1.0) -> Callable[[Row], str]:
    """Return how to show a number of a row.

    Parameters
    ----------
    key : str
        Its key.
    digits : int
        After the point.
    signed : bool
        Whether a plus is shown.
    times : float
        Factor, such as 1e-6 for millions.
    """

    def show(row: Row) -> str:
        value = row.get(key)
        if not isinstance(value, int | float) or math.isnan(value):
            return ABSENT
        return _minus(f"{value * times:{'+' if signed else ''},.{digits}f}")

    return show


def text(key: str) -> Callable[[Row], str]:
    """Return how to show text, or a whole number, of a row."""

    def show(row: Row) -> str:
        value = row.get(key)
        return ABSENT if value is None or value == "" else str(value)

    return show


def show_interval(prefix: str = "", digits: int = 3, *, signed: bool = False) -> Callable[[Row], str]:
    """Return how to show ``value (lower to upper)`` of the keys that `interval_row` makes."""
    value = number(f"{prefix}value", digits, signed=signed)
    lower, upper = (number(f"{prefix}{end}", digits, signed=signed) for end in ("lower", "upper"))

    def show(row: Row) -> str:
        if value(row) == ABSENT or lower(row) == ABSENT:
            return value(row)
        return f"{value(row)} ({lower(row)} to {upper(row)})"

    return show


def show_p(key: str) -> Callable[[Row], str]:
    """Return how to show a p value."""

    def show(row: Row) -> str:
        return p_text(row.get(key))

    return show


def p_text(value: object) -> str:
    """Return a p value as text: three digits, ``<.001`` below."""
    if not isinstance(value, int | float) or math.isnan(value):
        return ABSENT
    return "<.001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


def interval_row(interval: Interval, prefix: str = "") -> dict[str, object]:
    """Return an interval as keys of a row: value, lower, upper."""
    return {
        f"{prefix}value": interval.value,
        f"{prefix}lower": interval.lower,
        f"{prefix}upper": interval.upper,
    }


def sentence_number(value: float, digits: int = 3, *, signed: bool = False) -> str:
    """Return a number for a sentence."""
    return number("v", digits, signed=signed)({"v": value})


def join(parts: Iterable[str]) -> str:
    """Return ``a, b and c``."""
    words = list(parts)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def _raw(value: object) -> object:
    """Return a CSV cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float) else value


def _minus(shown: str) -> str:
    """Return a number with a true minus sign, and no minus zero."""
    if shown.startswith("-") and not shown.strip("-0.,"):
        shown = shown[1:]
    return shown.replace("-", "\N{MINUS SIGN}")
