"""The forms in which results are written: a line of a table, of CSV or of JSON for each result."""

from __future__ import annotations

import csv
import io
import json
from typing import TypeAlias

from xraytransfer.observations import OBSERVATIONS
from xraytransfer.prediction import RESEARCH_NOTICE, Prediction, Refusal

__all__ = ["BEGINNINGS", "COLUMNS", "HEADERS", "Result", "csv_row", "one_line", "table_row"]

Result: TypeAlias = Prediction | Refusal

COLUMNS = (
    "source",
    "status",
    *(observation.identifier for observation in OBSERVATIONS),
    *(f"{observation.identifier}_decision" for observation in OBSERVATIONS),
    *(f"{observation.identifier}_spread" for observation in OBSERVATIONS),
    "view_position",
    "provider",
    "model",
    "model_sha256",
    "message",
)
"""Columns of a CSV file."""


def one_line(source: str) -> str:
    """Return a name as it stands in CSV: one line per film, whatever its name."""
    return source.replace("\r", "\\r").replace("\n", "\\n")


def _csv_line(values: list[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def csv_row(result: Result) -> str:
    """Return a result as a line of CSV."""
    source = one_line(result.source)
    if isinstance(result, Refusal):
        empty = [""] * (len(COLUMNS) - 3)
        return _csv_line([source, result.reason, *empty, " ".join(result.message.split())])
    decisions = ["" if value is None else int(value) for value in result.decision]
    return _csv_line(
        [
            source,
            "ok",
            *(f"{value:.6f}" for value in result.probability),
            *decisions,
            *(f"{value:.6f}" for value in result.spread),
            result.radiograph.get("view_position") or "",
            result.provider,
            f"{result.model.name} {result.model.version}",
            result.model.sha256,
            result.doubt or "",
        ]
    )


_TABLE_WIDTHS = [max(len(observation.name), 7) for observation in OBSERVATIONS]


def table_row(result: Result) -> str:
    """Return a scored film as a line of the table; a star marks a probability at or above its threshold."""
    if isinstance(result, Refusal):
        return ""
    cells = [
        f"{probability:.3f}{'*' if decision else ' '}".rjust(width)
        for probability, decision, width in zip(result.probability, result.decision, _TABLE_WIDTHS, strict=True)
    ]
    refused = "" if result.doubt is None else "  (refused by the model's quality gate, scored on demand)"
    return "  ".join([*cells, result.source]) + refused + "\n"


HEADERS = {
    "table": "  ".join([o.name.rjust(width) for o, width in zip(OBSERVATIONS, _TABLE_WIDTHS, strict=True)] + ["film"])
    + "\n",
    "json": json.dumps({"notice": RESEARCH_NOTICE})[:-1] + ', "results": [\n',
    "jsonl": "",
    "csv": _csv_line(list(COLUMNS)),
}
BEGINNINGS = {"jsonl": b'{"source": ', "csv": HEADERS["csv"].encode()}
"""Form -> what a file of one unfinished line has to begin with."""
