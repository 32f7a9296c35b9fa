"""The forms in which results are written: a line of a table, of CSV or of JSON for each result."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any, TypeAlias

from xraytransfer.cli.film_version import FilmVersion
from xraytransfer.film_privacy import printable_line, unicode_text
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.prediction import RESEARCH_NOTICE, Prediction, Refusal, record_cells

__all__ = [
    "BEGINNINGS",
    "COLUMNS",
    "COLUMNS_OF_0_1",
    "HEADERS",
    "Result",
    "csv_row",
    "json_line",
    "json_record",
    "name_on_disk",
    "one_line",
    "printable",
    "table_row",
]

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
    "window",
    "reduction",
    "notes",
    "quality_gate_kind",
    "quality_gate_distance",
    "near_threshold",
    "file_size",
    "file_modified_ns",
)
"""Columns of a CSV file."""

_BEGINNINGS_OF_FORMULAS = ("=", "+", "-", "@", "\t")
"""How a cell begins that spreadsheets compute, where a name on a patient's disc could do harm."""

_ESCAPED = {"n": "\n", "r": "\r"}

COLUMNS_OF_0_1 = COLUMNS[:-8]
"""Columns that version 0.1 wrote."""


def one_line(source: str) -> str:
    """Return a name as it stands in CSV: one line per film, in Unicode, and never a formula to a spreadsheet."""
    line = unicode_text(source).replace("\r", "\\r").replace("\n", "\\n")
    return f"./{line}" if line.startswith(_BEGINNINGS_OF_FORMULAS) else line


def name_on_disk(written: str) -> str:
    """Return the name of which `one_line` or `unicode_text` made another one."""
    return re.sub(r"\\(n|r|x[89a-f][0-9a-f])", lambda found: _ESCAPED.get(found[1]) or _byte(found[1]), written)


def _byte(escape: str) -> str:
    # as in names of files; `os.fsdecode` refuses single bytes on Windows, where a folder may be called \xfer
    return bytes.fromhex(escape[1:]).decode("utf-8", "surrogateescape")


def printable(source: str) -> str:
    """Return a name as it stands in a table or a message: no breaks, no control characters, no bytes."""
    return printable_line(source)


def _record_cells(result: Result) -> list[object]:
    """Return what the columns after the message hold; empty where there is nothing to say."""
    return ["" if cell is None else cell for cell in record_cells(result).values()]


def _csv_line(values: list[object]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def csv_row(result: Result, version: FilmVersion | None) -> str:
    """Return a result as a line of CSV; the version is the file's, None for what is no file of its own."""
    source = one_line(result.source)
    if isinstance(result, Refusal):
        empty = [""] * (len(COLUMNS_OF_0_1) - 3)
        return _csv_line(
            [
                source,
                result.reason,
                *empty,
                one_line(" ".join(result.message.split())),
                *_record_cells(result),
                *(version or ("", "")),
            ]
        )
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
            *_record_cells(result),
            *(version or ("", "")),
        ]
    )


def json_record(result: Result, version: FilmVersion | None) -> dict[str, Any]:
    """Return a result as JSON; key ``file`` holds size and time of change of the film's file."""
    record: dict[str, Any] = _in_unicode(result.to_dict())
    return {**record, "file": None if version is None else version._asdict()}


def _in_unicode(value: Any) -> Any:
    """Return a record in which every text, wherever it stands, can be written as UTF-8."""
    if isinstance(value, str):
        return unicode_text(value)
    if isinstance(value, dict):
        return {key: _in_unicode(item) for key, item in value.items()}
    return [_in_unicode(item) for item in value] if isinstance(value, list | tuple) else value


def json_line(result: Result, version: FilmVersion | None) -> str:
    """Return a result as a line of JSON lines."""
    return json.dumps(json_record(result, version)) + "\n"


_TABLE_WIDTHS = [max(len(observation.name), 7) for observation in OBSERVATIONS]


def table_row(result: Result, version: FilmVersion | None = None) -> str:
    """Return a scored film as a line of the table, its notes below it.

    A star marks what reaches its threshold, and a tilde what is near it, if the model has flip widths.
    """
    if isinstance(result, Refusal):
        return ""
    marks = [
        ("*" if decision else " ") + {None: "", True: "~", False: " "}[near]
        for decision, near in zip(result.decision, result.near_threshold, strict=True)
    ]
    cells = [
        f"{probability:.3f}{mark}".rjust(width)
        for probability, mark, width in zip(result.probability, marks, _TABLE_WIDTHS, strict=True)
    ]
    refused = "" if result.doubt is None else "  (refused by the model's quality gate, scored on demand)"
    notes = result.radiograph.get("notes") or ()
    below = "".join(f"{' ' * sum(_TABLE_WIDTHS)}{' ' * 2 * len(_TABLE_WIDTHS)}note: {note}\n" for note in notes)
    return "  ".join([*cells, printable(result.source)]) + refused + "\n" + below


HEADERS = {
    "table": "  ".join([o.name.rjust(width) for o, width in zip(OBSERVATIONS, _TABLE_WIDTHS, strict=True)] + ["film"])
    + "\n",
    "json": json.dumps({"notice": RESEARCH_NOTICE})[:-1] + ', "results": [\n',
    "jsonl": "",
    "csv": _csv_line(list(COLUMNS)),
}
BEGINNINGS = {"jsonl": b'{"source": ', "csv": HEADERS["csv"].encode()}
"""Form -> what a file of one unfinished line has to begin with."""
