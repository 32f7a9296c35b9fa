"""CheXpert as it is released: its tables, its folders, and the radiologists' labels of the test films.

Conventions
-----------
A film is named from ``train/``, ``valid/`` or ``test/`` on, whatever stands before that in a table: the releases, and
copies of them, differ there. Three layouts are read: one folder with ``train/`` and ``valid/``; the release in
batches, whose folders ``CheXpert-v1.0 batch 2 (train 1)`` and so on hold the patients themselves; and any mixture.

References
----------
Irvin et al., CheXpert, AAAI 2019.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from xraytransfer.errors import StudyError
from xraytransfer.study.data.film_table import (
    FilmTable,
    build_table,
    identifier,
    parse_age,
    parse_label,
    parse_sex,
    read_csv,
)
from xraytransfer.study.data.row_filter import RowFilter, row_matches

__all__ = ["CHEXPERT_OBSERVATIONS", "read_chexpert"]

CHEXPERT_OBSERVATIONS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other",
    "Fracture", "Support Devices",
)  # fmt: skip
"""CheXpert's fourteen observations, in its order."""

TEST_TABLES = ("test.csv", "test_labels.csv", "groundtruth.csv")
PARTS = {"train": "train", "valid": "validation", "test": "test"}
"""Name of a part in file names -> name of the split."""

_FILM = re.compile(r"(?:^|/)((?:train|valid|test)/patient[^/]*/study[^/]*/[^/]+\.[^/]+)$")
_EXAMINATION = re.compile(r"(?:^|/)((?:train|valid|test)/patient[^/]*/study[^/]*)/?$")
_BATCH = "CheXpert-v1.0*batch [0-9]*"


class _Folders:
    """Where the tables and the patients of a release lie."""

    def __init__(self, folder: Path) -> None:
        parent = folder.parent if folder.match(_BATCH) else folder
        self.batches = sorted(path for path in parent.glob(_BATCH) if path.is_dir())
        self.roots = list(dict.fromkeys([folder, *self.batches]))
        self._patients: dict[str, Path] | None = None

    def table(self, name: str) -> Path | None:
        """Return the table of this name; None if there is none."""
        return next((root / name for root in self.roots if (root / name).is_file()), None)

    def path(self, film: str) -> Path:
        """Return where a film lies; where it would lie in one folder, if its patient is nowhere."""
        part, patient, below = film.split("/", 2)
        return self._found().get(f"{part}/{patient}", self.roots[0] / part / patient) / below

    def _found(self) -> dict[str, Path]:
        """Return the folder of each patient; a batch of training films has the patients in itself."""
        if self._patients is None:
            self._patients = {}
            if self.batches:
                batches = [(root, "train") for root in self.batches]
                parts = [(root / part, part) for root in self.roots for part in PARTS]
                for place, part in (*batches, *parts):
                    found = place.glob("patient*") if place.is_dir() else ()
                    self._patients |= {f"{part}/{patient.name}": patient for patient in found}
        return self._patients


def read_chexpert(folder: Path, row_filter: RowFilter) -> FilmTable:
    """Read CheXpert, v1.0 or -small: ``train.csv``, ``valid.csv`` and, where present, the released test labels.

    Parameters
    ----------
    folder : Path
        The folder with the tables, or the one that holds the batches of the release.
    row_filter : RowFilter
        Values that select rows.

    Raises
    ------
    StudyError
        If there is no ``train.csv``, or a table is not as it is released.

    Notes
    -----
    The test labels may be called ``test.csv``, ``test_labels.csv`` or ``groundtruth.csv``. They have either a column
    ``Path``, one row for a film, or a column ``Study``, one row for an examination, as in the released
    ``groundtruth.csv``: then every picture in the examination's folder has these labels. They have no columns for
    sex, age and view, which then come from the file's name or stay empty.
    """
    folders = _Folders(folder)
    films: list[dict[str, Any]] = []
    notes = []
    for name in ("train.csv", "valid.csv", *_test_table(folders)):
        table = folders.table(name)
        if table is None and name == "train.csv":
            raise StudyError(
                f"{folder}: no train.csv, neither here nor in a folder {_BATCH} below; expected CheXpert as released: "
                "train.csv and valid.csv beside train/ and valid/, or the folders of the batches side by side"
            )
        if table is None:
            notes.append(f"{name} is not there")
            continue
        part = name.removesuffix(".csv")
        films += _rows(folders, table, part if part in PARTS else "test", row_filter)
    return build_table("chexpert", [identifier(name) for name in CHEXPERT_OBSERVATIONS], films, notes)


def _test_table(folders: _Folders) -> list[str]:
    return [name for name in TEST_TABLES if folders.table(name)][:1]


def _rows(folders: _Folders, table: Path, part: str, row_filter: RowFilter) -> Iterator[dict[str, Any]]:
    """Yield the films of one table."""
    rows = read_csv(table, tuple(row_filter))
    key = "Study" if part == "test" and "Study" in rows[0] and "Path" not in rows[0] else "Path"
    if missing := [name for name in (key, *CHEXPERT_OBSERVATIONS) if name not in rows[0]]:
        raise StudyError(
            f"{table}: lacks the columns {missing}; it has {list(rows[0])}. Expected a table of CheXpert v1.0: column "
            "Path (or, for test labels, Study) and the fourteen observations"
        )
    for line, row in enumerate(rows, start=2):
        if row_matches(row, row_filter):
            where = f"{table.name} line {line}"
            films = _films_of(folders, row["Study"], where) if key == "Study" else [_film(row["Path"], part, where)]
            for film in films:
                yield _row(folders.path(film), film, row, PARTS[part], where)


def _film(text: str, part: str, where: str) -> str:
    """Return a film's name from its part on, for example ``train/patient00001/study1/view1_frontal.jpg``."""
    match = _FILM.search((text or "").strip().replace("\\", "/"))
    if match is None or ".." in match[1]:
        raise StudyError(f"{where}: path {text!r}; expected {part}/patientNNNNN/studyN/viewN_frontal.jpg at its end")
    return match[1]


def _films_of(folders: _Folders, text: str, where: str) -> list[str]:
    """Return the films in an examination's folder; its first view, which will be missing, if the folder has none."""
    match = _EXAMINATION.search((text or "").strip().replace("\\", "/"))
    if match is None or ".." in match[1]:
        raise StudyError(f"{where}: examination {text!r}; expected test/patientNNNNN/studyN at its end")
    first = f"{match[1]}/view1_frontal.jpg"
    found = sorted(path.name for path in folders.path(first).parent.glob("view*"))
    return [f"{match[1]}/{name}" for name in found] or [first]


def _row(path: Path, film: str, row: dict[str, str], split: str, where: str) -> dict[str, Any]:
    """Return the film of one line; `where` names the line in errors."""
    parts = PurePosixPath(film).parts
    plane = row.get("Frontal/Lateral") or ("Lateral" if "lateral" in parts[-1] else "Frontal")
    view = "LATERAL" if plane.strip().lower() == "lateral" else (row.get("AP/PA") or "").strip().upper()
    return {
        "image": film,
        "path": path,
        "patient": parts[-3],
        "examination": "/".join(parts[-3:-1]),
        "view": view,
        "sex": parse_sex(row.get("Sex")),
        "age": parse_age(row.get("Age")),
        "label": [parse_label(row.get(name), f"{where}, {name}") for name in CHEXPERT_OBSERVATIONS],
        "official_split": split,
    }
