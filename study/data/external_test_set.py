"""External test sets: films of other patients that judge a finished model, with what else a mapping file names of them.

Beside the keys of `xraytransfer.study.data.datasets.read_mapped`, the mapping file of an external test set may have::

    {"judges": "the majority of three radiologists", "attribution": "Author et al. 2021", "use": "Use",
     "note": "Other networks were judged on these films before.",
     "other_labels": {"name": "NIH's labels", "labels": {"edema": "Edema by NIH"}},
     "readers": {"table": "Readers.csv", "image": "Image Index", "reader": "Reader", "labels": {"edema": "Edema"}},
     "boxes": {"table": "boxes.csv", "image": "Image Index", "finding": "Finding Label", "box": ["x", "y", "w", "h"],
               "side": 1024, "findings": {"Effusion": "pleural_effusion"}}}

``judges`` says in words whose judgement the labels are, ``attribution`` what a publication has to cite, and ``note``
what else a reader of the numbers has to know. ``use`` names the column that says what a film is for: ``judge`` where
nothing was chosen by it, ``choose`` where it chose settings, or any other word; films without a word are left out.
``other_labels`` names other labels of the same films in the same table. ``readers`` names a table with one row for
each film and reader. ``boxes`` names a table of boxes (upper left corner, width and height, in pixels of a square
picture of ``side`` pixels) around findings; it may hold other films.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.datasets import read_dataset
from xraytransfer.study.data.external_predictions import check_name
from xraytransfer.study.data.film_table import FilmTable, read_csv
from xraytransfer.study.data.mapping_file import MappingFile, label_columns, read_mapping
from xraytransfer.study.data.row_filter import row_matches

__all__ = ["IDENTIFIERS", "Box", "ExternalTestSet", "read_external_test_set"]

IDENTIFIERS = tuple(row.identifier for row in OBSERVATIONS)
"""Identifiers of the six observations, in order."""


@dataclass(frozen=True)
class Box:
    """A box around a finding.

    Attributes
    ----------
    image : str
        Name of the image.
    observation : str
        Identifier.
    left, top, right, bottom : float
        In [0, 1]: shares of the film's width and height.
    """

    image: str
    observation: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, eq=False)
class ExternalTestSet:
    """An external test set. Labels, (films, 6), are 1, 0, or NaN where masked: uncertain or without an answer.

    Attributes
    ----------
    table : FilmTable
        The films.
    name_space : str
        Name space of the patients; see `xraytransfer.study.finished_runs.known_films`.
    judges, attribution, note : str
        Whose judgement the labels are, what is to be cited, and what else has to be known; empty where the mapping file
        says nothing.
    use : NDArray
        str, shape (films,): what each film is for; ``all`` without such a column.
    label : NDArray
        float32, shape (films, 6).
    other_name : str
        Whose labels the other ones are; empty without any.
    other_label : NDArray
        float32, shape (films, 6).
    readers : tuple of str
        Names of the readers, sorted.
    answers : NDArray
        float32, shape (readers, films, 6).
    boxes : tuple of Box
        All boxes, also those of other films.
    """

    table: FilmTable
    name_space: str
    judges: str
    attribution: str
    note: str
    use: NDArray[np.str_]
    label: NDArray[np.float32]
    other_name: str
    other_label: NDArray[np.float32]
    readers: tuple[str, ...]
    answers: NDArray[np.float32]
    boxes: tuple[Box, ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """Return the name of the test set, by which its files are called."""
        return self.table.name

    def subset(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> ExternalTestSet:
        """Return the films that a mask or a list of row numbers selects."""
        arrays = {name: getattr(self, name)[rows] for name in ("use", "label", "other_label")}
        return replace(self, table=self.table.subset(rows), answers=self.answers[:, rows], **arrays)


def read_external_test_set(mapping: Path, folder: Path) -> ExternalTestSet:
    """Read an external test set.

    Parameters
    ----------
    mapping : Path
        The mapping file, as above.
    folder : Path
        The folder of the data set.

    Returns
    -------
    ExternalTestSet
        The frontal films that have a use; ``table.notes`` counts the others.

    Raises
    ------
    StudyError
        If a file cannot be read, lacks a column, or holds something else than expected, or no film is left.
    """
    plan, document = read_mapping(mapping), read_json(mapping)
    check_name(plan.name)
    table = read_dataset("csv", folder, mapping=mapping)
    if not set(IDENTIFIERS) & set(table.observations):
        raise StudyError(f"{mapping}: none of the six observations is labelled")
    rows = _rows(folder / plan.table, plan, table)
    other, other_name = _other_labels(mapping, plan, document, rows)
    readers, answers = _answers(mapping, folder, document, table)
    use_column = document.get("use")
    use = np.array([_cell(row, use_column, plan.table) if use_column else "all" for row in rows], np.str_)
    films = ExternalTestSet(
        table=table,
        name_space=plan.patients,
        judges=str(document.get("judges") or ""),
        attribution=str(document.get("attribution") or ""),
        note=str(document.get("note") or ""),
        use=use,
        label=_labels(plan, rows),
        other_name=other_name,
        other_label=other,
        readers=readers,
        answers=answers,
        boxes=_boxes(mapping, folder, document),
    )
    return _with_use(films)


def _with_use(films: ExternalTestSet) -> ExternalTestSet:
    """Return the films that have a use, and note the number of others."""
    without = films.use == ""
    if without.all():
        raise StudyError(f"{films.name}: no film has a word in the column that says what it is for")
    kept = films.subset(~without)
    if without.any():
        kept.table.notes.append(f"{int(without.sum())} images left out: no use is named for them")
    return kept


def _rows(path: Path, plan: MappingFile, table: FilmTable) -> list[dict[str, str]]:
    """Return the row of the CSV file of each film of the table."""
    rows = [row for row in read_csv(path, plan.columns()) if row_matches(row, plan.rows)]
    by_image = {row[plan.image]: row for row in rows}
    return [by_image[str(name)] for name in table.image]


def _cell(row: Mapping[str, str], column: str, table: str) -> str:
    if column not in row:
        raise StudyError(f"{table}: lacks the column {column!r} that the mapping file names as use")
    return (row[column] or "").strip()


def _labels(plan: MappingFile, rows: Sequence[Mapping[str, str]]) -> NDArray[np.float32]:
    """Return the labels of rows for the six observations; uncertain ones are masked."""
    labels = np.full((len(rows), len(IDENTIFIERS)), np.nan, np.float32)
    columns = [(IDENTIFIERS.index(name), k) for k, name in enumerate(plan.labels) if name in IDENTIFIERS]
    for index, row in enumerate(rows):
        read = plan.label(row, f"{plan.table}, {row[plan.image]}")
        for to, origin in columns:
            labels[index, to] = np.nan if read[origin] == -1 else read[origin]
    return labels


def _part(mapping: Path, document: Mapping[str, Any], name: str, keys: Sequence[str]) -> Mapping[str, Any] | None:
    """Return an object of the mapping file; None where there is none."""
    part = document.get(name)
    if part is None:
        return None
    if not isinstance(part, dict) or any(key not in part for key in keys):
        raise StudyError(f"{mapping}: {name} must be an object with {', '.join(keys)}")
    for key in ("labels", "findings"):
        if key in keys and not isinstance(part[key], dict):
            raise StudyError(f"{mapping}: {name}.{key} must be an object")
    return part


def _other_labels(
    mapping: Path, plan: MappingFile, document: Mapping[str, Any], rows: Sequence[Mapping[str, str]]
) -> tuple[NDArray[np.float32], str]:
    """Return the other labels, NaN without any, and their name."""
    part = _part(mapping, document, "other_labels", ("name", "labels"))
    if part is None:
        return np.full((len(rows), len(IDENTIFIERS)), np.nan, np.float32), ""
    other = replace(plan, labels=label_columns(mapping, part["labels"], document.get("values") or {}))
    if missing := [column for column in other.columns() if column not in rows[0]]:
        raise StudyError(f"{plan.table}: lacks the columns {missing} that the mapping file names as other_labels")
    return _labels(other, rows), str(part["name"])


def _answers(
    mapping: Path, folder: Path, document: Mapping[str, Any], table: FilmTable
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """Return the names of the readers and their answers, float32, shape (readers, films, 6)."""
    part = _part(mapping, document, "readers", ("table", "image", "reader", "labels"))
    if part is None:
        return (), np.zeros((0, len(table), len(IDENTIFIERS)), np.float32)
    image, reader = str(part["image"]), str(part["reader"])
    labels = label_columns(mapping, part["labels"], document.get("values") or {})
    plan = replace(read_mapping(mapping), table=str(part["table"]), image=image, labels=labels)
    row_of = {str(name): index for index, name in enumerate(table.image)}
    wanted = [image, reader, *(label.column for label in labels.values())]
    rows = [row for row in read_csv(folder / plan.table, wanted) if row[image] in row_of]
    if not rows:
        raise StudyError(f"{folder / plan.table}: none of its rows is about a film of {table.name}")
    if twice := [key for key, count in Counter((row[reader], row[image]) for row in rows).items() if count > 1]:
        raise StudyError(f"{folder / plan.table}: {twice[0][0]} answered twice for {twice[0][1]}; keep one row")
    names = tuple(sorted({row[reader] for row in rows}))
    answers = np.full((len(names), len(table), len(IDENTIFIERS)), np.nan, np.float32)
    for row, label in zip(rows, _labels(plan, rows), strict=True):
        answers[names.index(row[reader]), row_of[row[image]]] = label
    return names, answers


def _boxes(mapping: Path, folder: Path, document: Mapping[str, Any]) -> tuple[Box, ...]:
    """Return the boxes around findings that the mapping file translates."""
    part = _part(mapping, document, "boxes", ("table", "image", "finding", "box", "side", "findings"))
    if part is None:
        return ()
    columns, side = [str(name) for name in part["box"]], part["side"]
    if len(columns) != 4 or not isinstance(side, int | float) or side <= 0:
        raise StudyError(f"{mapping}: boxes.box must name four columns, boxes.side a number of pixels")
    boxes = []
    rows = read_csv(folder / part["table"], [part["image"], part["finding"], *columns])
    for line, row in enumerate(rows, start=2):
        if row[part["finding"]] in part["findings"]:
            observation = str(part["findings"][row[part["finding"]]])
            corners = _corners([row[name] for name in columns], side, f"{part['table']} line {line}")
            boxes.append(Box(row[part["image"]], observation, *corners))
    return tuple(boxes)


def _corners(cells: Sequence[str], side: float, where: str) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom as shares of the film."""
    try:
        left, top, width, height = (float(cell) / side for cell in cells)
    except ValueError as error:
        raise StudyError(f"{where}: {cells} are no four numbers") from error
    if not (0 <= left < left + width <= 1.01 and 0 <= top < top + height <= 1.01):
        raise StudyError(f"{where}: the box {cells} lies outside the picture of {side:g} pixels")
    return left, top, left + width, top + height
