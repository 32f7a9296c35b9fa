"""The table of a data set: one row per radiograph, the same for every layout on disk."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.patient_names import one_spelling

__all__ = [
    "FilmTable",
    "identifier",
    "parse_age",
    "parse_label",
    "parse_sex",
    "parse_split",
    "parse_view",
    "read_csv",
    "sha256_of_labels",
]

Strings = NDArray[np.str_]


def identifier(name: str) -> str:
    """Return the identifier of an observation's printed name: ``Pleural Effusion`` -> ``pleural_effusion``."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


@dataclass(eq=False)
class FilmTable:
    """Radiographs with their patients, views and labels. All arrays have one entry per radiograph.

    Attributes
    ----------
    name : str
        Name of the data set: ``nih``, ``chexpert``, or the name in the mapping file.
    observations : list of str
        Identifiers of the columns of `label`.
    image : NDArray
        Unique names, as the data set's own table gives them.
    path : list of Path
        The files.
    patient, examination : NDArray
        Identifiers. A split never divides a patient.
    view : NDArray
        ``PA``, ``AP``, ``FRONTAL``, ``LATERAL``, ``OTHER`` (oblique, decubitus, ...) or empty.
    sex : NDArray
        ``F``, ``M`` or empty.
    age : NDArray
        float32, years; NaN if absent.
    label : NDArray
        float32, shape (images, observations): 1, 0, -1 uncertain, NaN not mentioned.
    official_split : NDArray
        ``train``, ``validation``, ``test`` or empty.
    source_width : NDArray
        int32, width in pixels of the picture that a film was made from; 0 if unknown.
    notes : list of str
        Which films were left out, and why.
    """

    name: str
    observations: list[str]
    image: Strings
    path: list[Path]
    patient: Strings
    examination: Strings
    view: Strings
    sex: Strings
    age: NDArray[np.float32]
    label: NDArray[np.float32]
    official_split: Strings
    source_width: NDArray[np.int32]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.path)

    def subset(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> FilmTable:
        """Return the rows that a mask or a list of row numbers selects."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        arrays: dict[str, Any] = {
            name: value[index] for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        return replace(self, path=[self.path[i] for i in index], notes=list(self.notes), **arrays)

    def select(self, observations: Sequence[str]) -> NDArray[np.float32]:
        """Return raw labels of some observations, float32, shape (images, observations).

        Raises
        ------
        StudyError
            If the data set has no such column.
        """
        if missing := [name for name in observations if name not in self.observations]:
            raise StudyError(f"{self.name}: no labels for {', '.join(missing)}; it has {', '.join(self.observations)}")
        return self.label[:, [self.observations.index(name) for name in observations]]

    def labels_sha256(self) -> str:
        """Return the SHA-256 of images, observations and raw labels."""
        return sha256_of_labels(self.image.tolist(), self.observations, self.label)

    def outputs(self, head: str) -> list[str]:
        """Return the observations that a head trains.

        Parameters
        ----------
        head : str
            ``product`` for the six, ``paper`` for the six followed by every other column of the data set.

        Raises
        ------
        StudyError
            If the head is unknown, or none of the six is labelled.
        """
        if head not in ("product", "paper"):
            raise StudyError(f"head {head!r} is neither product nor paper")
        six = [o.identifier for o in OBSERVATIONS if o.identifier in self.observations]
        if not six:
            raise StudyError(f"{self.name}: none of the six observations is labelled")
        return six if head == "product" else [*six, *(name for name in self.observations if name not in six)]


def sha256_of_labels(images: Sequence[str], observations: Sequence[str], label: NDArray[np.float32]) -> str:
    """Return the SHA-256 of names of images, of observations, and of raw labels, shape (images, observations)."""
    digest = hashlib.sha256("\n".join([*images, "", *observations]).encode())
    digest.update(np.nan_to_num(label, nan=-2).astype("<f4").tobytes())
    return digest.hexdigest()


_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""What spreadsheets of many countries, and other programs, write in the place of commas."""


def read_csv(path: Path, required: Sequence[str], known: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a CSV file's rows; `known` columns need not be there.

    Raises
    ------
    StudyError
        If it cannot be read, is not separated by commas, lacks a required column, has one or a known one twice, has
        no row, or a row with more or fewer cells than the header: the file may have been cut short, or a comma may
        have moved the cells behind it.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or [])
            rows = [_whole(row, path, reader.line_num) for row in reader]
    except OSError as error:
        raise StudyError(f"{path}: cannot be read as CSV: {error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"{path}: cannot be read as CSV: is no CSV file in UTF-8: {error}") from error
    if len(columns) == 1 and (other := next((name for mark, name in _SEPARATORS.items() if mark in columns[0]), "")):
        raise StudyError(f"{path}: its cells are separated by {other}; commas expected, save it as CSV with commas")
    if missing := [name for name in required if name not in columns]:
        raise StudyError(f"{path}: lacks the columns {missing}; it has {columns or 'no columns'}")
    if twice := [name for name in (*required, *known) if columns.count(name) > 1]:
        raise StudyError(f"{path}: has two columns {twice[0]!r}; which one counts cannot be told")
    if not rows:
        raise StudyError(f"{path}: has no rows")
    return rows


def _whole(row: dict[Any, Any], path: Path, line: int) -> dict[str, str]:
    """Return a row that has a cell for each column; blank cells behind the last column are left out."""
    surplus = row.pop(None, [])
    if any(map(str.strip, surplus)):
        raise StudyError(f"{path} line {line}: has {len(row) + len(surplus)} cells, the header has {len(row)}")
    if None in row.values():
        cells = sum(value is not None for value in row.values())
        raise StudyError(f"{path} line {line}: has {cells} cells, the header has {len(row)}; is the file whole?")
    return row


def parse_label(text: str | None, where: str) -> float:
    """Return 1, 0, -1 or NaN from a cell.

    Raises
    ------
    StudyError
        If the cell holds anything else.
    """
    if text is None or not text.strip():
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = float("inf")
    if value not in (1.0, 0.0, -1.0) and not np.isnan(value):
        raise StudyError(f"{where}: label {text!r} is none of 1, 0, -1 and blank")
    return value


_SEX = {"m": "M", "male": "M", "f": "F", "female": "F"}
_SPLITS = {"training": "train", **dict.fromkeys(("val", "valid", "validate", "dev"), "validation"), "testing": "test"}
_VIEWS = {
    "PA": ("PA", "P-A", "PA ERECT", "POSTEROANTERIOR", "POSTERO-ANTERIOR", "POSTERIOR-ANTERIOR"),
    "AP": ("AP", "A-P", "AP ERECT", "AP SUPINE", "SUPINE", "ANTEROPOSTERIOR", "ANTERO-POSTERIOR", "ANTERIOR-POSTERIOR"),
    "FRONTAL": ("FRONTAL",),
    "LATERAL": ("LATERAL", "LAT", "L", "LL", "RL", "LEFT LATERAL", "RIGHT LATERAL", "XTABLE LATERAL"),
    "OTHER": (
        "OTHER", "OBLIQUE", "LAO", "RAO", "LPO", "RPO", "LLO", "LO", "LLD", "RLD", "AP LLD", "AP RLD", "PA LLD",
        "PA RLD", "AP AXIAL", "LORDOTIC", "AP LORDOTIC", "SWIMMERS",
    ),
}  # fmt: skip
"""Words for views: those of DICOM's View Position (PS3.3 C.8.1.2), of MIMIC-CXR, and whole words."""
_VIEW_OF_WORD = {word: view for view, words in _VIEWS.items() for word in words}


def parse_sex(text: str | None) -> str:
    """Return ``F``, ``M`` or an empty string."""
    return _SEX.get((text or "").strip().lower(), "")


def parse_split(text: str) -> str:
    """Return ``train``, ``validation`` or ``test`` from words in use for them; any other word as it is."""
    word = text.strip()
    return _SPLITS.get(word.lower(), word.lower() if word.lower() in _SPLITS.values() else word)


def parse_view(text: str, where: str) -> str:
    """Return a view as in `FilmTable.view` from words in use for it.

    Raises
    ------
    StudyError
        If the word is unknown: a side view that is taken for a frontal one would be trained on.
    """
    word = " ".join(text.upper().split())
    if word and word not in _VIEW_OF_WORD:
        raise StudyError(
            f"{where}: view {text!r} is unknown; translate it in the mapping file: "
            f'"view_words": {json.dumps({text: "PA"})} '
            f"(or {', '.join(view for view in _VIEWS if view != 'PA')})"
        )
    return _VIEW_OF_WORD.get(word, "")


def parse_age(text: str | None) -> float:
    """Return years from ``58``, ``058Y``, ``011M`` or ``023D``; NaN if absent, over 120 or anything else."""
    match = re.fullmatch(r"\s*(\d+)(?:\.\d*)?\s*([YMWD]?)\s*", text or "")
    if not match:
        return float("nan")
    years = int(match[1]) / {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}[match[2]]
    return years if years <= 120 else float("nan")


def build_table(
    name: str, observations: Sequence[str], rows: Sequence[Mapping[str, object]], notes: Sequence[str] = ()
) -> FilmTable:
    """Build a table from rows whose keys are fields of `FilmTable`.

    ``image``, ``path`` and ``label`` are required; a field that is absent is empty, NaN or 0.

    Raises
    ------
    StudyError
        If two rows have the same image.
    """

    def text(key: str) -> Strings:
        return np.array([str(row.get(key, "")) for row in rows], dtype=np.str_)

    image = text("image")
    if len(np.unique(image)) != len(image):
        names, counts = np.unique(image, return_counts=True)
        raise StudyError(f"{name}: {int((counts > 1).sum())} images are listed twice, first {names[counts > 1][0]}")
    patient, spellings = one_spelling(text("patient"))
    return FilmTable(
        name,
        list(observations),
        image,
        [Path(str(row["path"])) for row in rows],
        patient,
        **{key: text(key) for key in ("examination", "view", "sex")},
        age=np.array([row.get("age", np.nan) for row in rows], dtype=np.float32),
        label=np.array([row["label"] for row in rows], dtype=np.float32).reshape(len(rows), len(observations)),
        official_split=text("official_split").astype("<U10"),  # wide enough for the name of every split
        source_width=np.array([row.get("source_width", 0) for row in rows], dtype=np.int32),
        notes=[*notes, *spellings],
    )
