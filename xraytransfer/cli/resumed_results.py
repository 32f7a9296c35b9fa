"""What a file of results holds that a run continues: which films are done, and which are to be scored again."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from xraytransfer.cli.film_version import FilmVersion, film_version
from xraytransfer.cli.result_forms import BEGINNINGS, COLUMNS, COLUMNS_OF_0_1, name_on_disk, one_line
from xraytransfer.errors import PASSING, OutputError
from xraytransfer.film_privacy import unicode_text

__all__ = ["ResumedResults", "lines_to_keep", "read_results"]


class _Record(NamedTuple):
    """One line of results, as far as a continued run needs it."""

    source: str
    status: str
    model: tuple[str, str] | None
    version: FilmVersion | None

    def is_stale(self, again: Collection[str]) -> bool:
        """Return whether the film is to be scored again: its refusal does not hold now, or its file has changed."""
        if self.status in PASSING or self.status in again:
            return True
        if self.version is None:
            return False
        now = film_version(self.source) or film_version(name_on_disk(self.source))
        return now is not None and now != self.version


@dataclass
class ResumedResults:
    """What stands in a file of results.

    Attributes
    ----------
    done : set of str
        Films that need not be scored again.
    refused : int
        How many of them stand there as refused.
    models : dict
        Checksum -> name and version of the models that scored the others.
    size : int
        Bytes of the whole lines; behind them may stand one that was cut short.
    stale : set of int
        Numbers of the lines, from 0, whose films are to be scored again.
    """

    done: set[str] = field(default_factory=set)
    refused: int = 0
    models: dict[str, str] = field(default_factory=dict)
    size: int = 0
    stale: set[int] = field(default_factory=set)

    def _add(self, number: int, record: _Record, again: Collection[str]) -> None:
        if record.is_stale(again):
            self.stale.add(number)
            return
        self.done.add(record.source)
        if record.model is None:
            self.refused += 1
        else:
            self.models.setdefault(*record.model)


def read_results(stream: IO[bytes], path: Path, form: str, again: Collection[str] = ()) -> ResumedResults:
    """Read which films a file of results holds.

    Parameters
    ----------
    stream : binary file
        Stays open.
    path : Path
        Its name, for messages.
    form : {'jsonl', 'csv'}
    again : collection of str
        Reasons of refusals that an option overrules now.

    Raises
    ------
    OutputError
        The file is no file of results of this form, or one of version 0.1 that has other columns.
    """
    found = ResumedResults()
    rest, number = b"", 0
    reader = io.BufferedReader(cast(io.FileIO, stream))
    try:
        for number, line in enumerate(reader):
            if not line.endswith(b"\n"):
                rest = line
                break
            found.size += len(line)
            text = line.decode("utf-8", "surrogateescape")
            if number == 0 and form == "csv":
                _check_columns(path, next(csv.reader([text])))
            else:
                record = _record_of_json(json.loads(text)) if form == "jsonl" else _record_of_csv(text)
                found._add(number, record, again)
        begins = BEGINNINGS[form]
        if not found.size and rest[: len(begins)] != begins[: len(rest)]:
            raise ValueError("one line that is none of ours")  # cutting it off would empty the file
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise OutputError(
            f"{path}: line {number + 1} is none of a {form} file of results, so it cannot be resumed; remove damaged "
            "lines (their films are then scored again), or name another file with -o"
        ) from error
    finally:
        reader.detach()
    return found


def lines_to_keep(stream: IO[bytes], found: ResumedResults) -> Iterator[bytes]:
    """Yield the lines whose films are done, from a file that stands at its start."""
    left = found.size
    for number, line in enumerate(stream):
        if left <= 0:
            return
        left -= len(line)
        if number not in found.stale:
            yield line


def _record_of_json(record: dict[str, Any]) -> _Record:
    model = record["model"] if record["ok"] else None
    named = model and (model["sha256"], f"{model['name']} {model['version']}")
    version = FilmVersion.from_record(**(record.get("file") or {"size": None, "modified_ns": None}))
    return _Record(unicode_text(record["source"]), "ok" if record["ok"] else record["reason"], named, version)


def _record_of_csv(line: str) -> _Record:
    row = dict(zip(COLUMNS, next(csv.reader([line])), strict=True))
    model = (row["model_sha256"], row["model"]) if row["status"] == "ok" else None
    version = FilmVersion.from_record(row["file_size"], row["file_modified_ns"])
    return _Record(one_line(row["source"]), row["status"], model, version)


def _check_columns(path: Path, columns: list[str]) -> None:
    if tuple(columns) == COLUMNS_OF_0_1:
        raise OutputError(f"{path}: was written by version 0.1, which had fewer columns; write another file with -o")
    if tuple(columns) != COLUMNS:
        raise ValueError("other columns")
