"""Mapping files, which name the columns of a CSV file that hold images, patients and labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.film_table import identifier, parse_label
from xraytransfer.study.data.row_filter import RowFilter

__all__ = ["LabelColumn", "MappingFile", "label_columns", "read_mapping"]

REQUIRED = ("name", "table", "image", "patient", "labels")
SIX = frozenset(one.identifier for one in OBSERVATIONS)
DESCRIPTIONS = ("examination", "view", "sex", "age", "split")


@dataclass(frozen=True)
class LabelColumn:
    """The column that holds the labels of one observation.

    Attributes
    ----------
    column : str
        Name of the column.
    values : mapping
        Text of a cell -> text that is read in its place: 1, 0, -1 or blank.
    """

    column: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class MappingFile:
    """The content of a mapping file.

    Attributes
    ----------
    name : str
        Name of the data set.
    table : str
        The CSV file, below the data set's folder.
    image : str
        Column of the names of images.
    images : str
        Folder of the pictures, below the data set's folder; empty for that folder itself.
    patient : str
        Column of patients; empty where the file names none.
    patients : str
        Name space of the patients' identifiers; two data sets with the same name space may share patients.
    descriptions : dict
        ``examination``, ``view``, ``sex``, ``age``, ``split`` -> column; empty where the file names none.
    labels : dict
        Observation -> `LabelColumn`.
    rows : RowFilter
        Values that select rows.
    view_words, split_words : dict
        Word in the column of views or splits -> the word that is read in its place.
    attribution : str
        Whose labels they are, in the words that their owner asks for; empty where the file has none.
    """

    name: str
    table: str
    image: str
    images: str
    patient: str
    patients: str
    descriptions: Mapping[str, str]
    labels: Mapping[str, LabelColumn]
    rows: RowFilter
    view_words: Mapping[str, str]
    split_words: Mapping[str, str]
    attribution: str

    def columns(self) -> list[str]:
        """Return every column that the table must have."""
        labels = [label.column for label in self.labels.values()]
        described = [column for column in (self.patient, *self.descriptions.values()) if column]
        return list(dict.fromkeys([self.image, *described, *labels, *self.rows]))

    def label(self, row: Mapping[str, str], where: str) -> NDArray[np.float32]:
        """Return the labels of a row, float32, shape (observations,): 1, 0, -1 uncertain, NaN for an empty cell.

        Raises
        ------
        StudyError
            If a cell holds anything else; the message starts with `where`.
        """
        values = []
        for label in self.labels.values():
            text = row[label.column] or ""
            values.append(parse_label(label.values.get(text.strip(), text), where))
        return np.array(values, dtype=np.float32)


def read_mapping(path: Path, required: Sequence[str] = REQUIRED) -> MappingFile:
    """Read a mapping file.

    Parameters
    ----------
    path : Path
        A JSON object; `xraytransfer.study.data.datasets.read_mapped` describes its keys.
    required : sequence of str
        Keys that must be present.

    Raises
    ------
    StudyError
        If it cannot be read, lacks a key, or has an entry of the wrong type.
    """
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(plan, dict) or any(key not in plan for key in required) or not isinstance(plan["labels"], dict):
        raise StudyError(f"{path}: must be a JSON object with {', '.join(required)}")
    for key in ("values", "rows", "view_words", "split_words"):
        if not isinstance(plan.setdefault(key, {}), dict):
            raise StudyError(f"{path}: {key} must be a JSON object")
    values, rows = plan["values"], plan["rows"]
    name = str(plan.get("name", path.stem))
    return MappingFile(
        name=name,
        table=str(plan["table"]),
        image=str(plan["image"]),
        images=str(plan.get("images") or ""),
        patient=str(plan.get("patient") or ""),
        patients=str(plan.get("patients") or name),
        descriptions={key: str(plan.get(key) or "") for key in DESCRIPTIONS},
        labels=label_columns(path, plan["labels"], values),
        rows={
            str(column): frozenset(map(str, cells if isinstance(cells, list) else [cells]))
            for column, cells in rows.items()
        },
        view_words={str(word): str(view) for word, view in plan["view_words"].items()},
        split_words={str(word): str(split) for word, split in plan["split_words"].items()},
        attribution=str(plan.get("attribution") or ""),
    )


def label_columns(path: Path, labels: Mapping[str, Any], values: Mapping[Any, Any]) -> dict[str, LabelColumn]:
    """Return the columns of labels as a mapping file writes them: observation -> `LabelColumn`.

    Parameters
    ----------
    path : Path
        The mapping file, for messages.
    labels : mapping
        Observation -> column, or an object with ``column`` and ``values``.
    values : mapping
        Text of a cell -> text that is read in its place, for all of them.

    Raises
    ------
    StudyError
        If an entry has another form, or an observation of the six is written in another way than its identifier.
    """
    for key in labels:
        if key != identifier(key) and identifier(key) in SIX:
            raise StudyError(f"{path}: labels names {key!r}; the identifier of this observation is {identifier(key)}")
    return {str(key): _label_column(path, key, label, values) for key, label in labels.items()}


def _label_column(path: Path, name: str, label: Any, values: Mapping[Any, Any]) -> LabelColumn:
    """Return the column of a label, written ``"Edema"`` or ``{"column": "Edema", "values": {"yes": 1}}``."""
    own: Any = {}
    if isinstance(label, dict):
        label, own = label.get("column"), label.get("values", {})
    if not isinstance(label, str) or not isinstance(own, dict):
        raise StudyError(f'{path}: labels.{name} must be a column, or {{"column": ..., "values": {{...}}}}')
    return LabelColumn(label, {str(key): str(value) for key, value in {**values, **own}.items()})
