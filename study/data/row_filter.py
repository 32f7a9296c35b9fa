"""Conditions on cells that select rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xraytransfer.errors import StudyError

__all__ = ["RowFilter", "parse_row_filter", "row_matches"]

RowFilter = Mapping[str, frozenset[str]]
"""Column -> the values of which a row must have one to be selected. All columns must match."""


def parse_row_filter(conditions: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the filter that conditions of the form ``COLUMN=VALUE`` describe.

    A column that is given several times may have any of its values. The value may be empty.

    Raises
    ------
    StudyError
        If a condition has no column or no equals sign.
    """
    row_filter: dict[str, frozenset[str]] = {}
    for condition in conditions:
        column, equals, value = condition.partition("=")
        if not equals or not column.strip():
            raise StudyError(f"rows {condition!r}: COLUMN=VALUE expected")
        row_filter[column.strip()] = row_filter.get(column.strip(), frozenset()) | {value.strip()}
    return row_filter


def row_matches(row: Mapping[str, str], row_filter: RowFilter) -> bool:
    """Return whether a row has one of the values of the filter in each of its columns."""
    return all((row[column] or "").strip() in values for column, values in row_filter.items())
