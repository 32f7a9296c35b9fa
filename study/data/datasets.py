"""Readers of data sets on disk: NIH ChestX-ray14, any CSV with a mapping file, and CheXpert (in `chexpert`).

References
----------
Wang et al., ChestX-ray8, CVPR 2017 (NIH Clinical Center).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xraytransfer.errors import StudyError
from xraytransfer.study.data.chexpert import CHEXPERT_OBSERVATIONS, read_chexpert
from xraytransfer.study.data.film_table import (
    FilmTable,
    build_table,
    identifier,
    parse_age,
    parse_sex,
    parse_split,
    parse_view,
    read_csv,
)
from xraytransfer.study.data.mapping_file import read_mapping
from xraytransfer.study.data.row_filter import RowFilter, row_matches

__all__ = ["CHEXPERT_OBSERVATIONS", "DATASETS", "NIH_OBSERVATIONS", "data_set_name", "read_dataset"]

NIH_OBSERVATIONS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia", "No Finding",
)  # fmt: skip
"""NIH's fourteen findings, and its label for films without any of them."""

_NIH_NAMES = {"Effusion": "pleural_effusion"}


def data_set_name(data: Mapping[str, Any]) -> str:
    """Return the name of the data set that the ``data`` part of config.json describes.

    That is the name in the mapping file; in runs of older versions, which did not note it, ``csv``.
    """
    return str(data.get("dataset") or data.get("name") or "")


def read_dataset(
    name: str, folder: Path, *, mapping: Path | None = None, views: str = "frontal", rows: RowFilter | None = None
) -> FilmTable:
    """Read the table of a data set.

    Parameters
    ----------
    name : str
        ``chexpert``, ``nih`` or ``csv``.
    folder : Path
        Folder of its table and pictures.
    mapping : Path or None
        For ``csv``, the mapping file (see `read_mapped`).
    views : str
        ``frontal``, ``lateral`` or ``all``.
    rows : RowFilter or None
        Values that select rows of its tables; None for all rows.

    Raises
    ------
    StudyError
        If the data set is unknown, the folder does not exist, columns are missing, or no film is left.
    """
    if name not in DATASETS:
        raise StudyError(f"data set {name!r} is none of {', '.join(DATASETS)}")
    if views not in ("frontal", "lateral", "all"):
        raise StudyError(f"views {views!r} is none of frontal, lateral, all")
    if not folder.is_dir():
        raise StudyError(f"{folder}: no such folder")
    if name == "csv":
        if mapping is None:
            raise StudyError("a data set of kind csv needs a mapping file: --mapping FILE")
        table = read_mapped(folder, mapping, rows or {})
    else:
        table = DATASETS[name](folder, rows or {})
    if views != "all":
        keep = table.view == "LATERAL" if views == "lateral" else ~np.isin(table.view, ("LATERAL", "OTHER"))
        table.notes.append(f"{int((~keep).sum())} images left out: not {views}")
        table = table.subset(keep)
    if len(table) == 0:
        raise StudyError(f"{folder}: no {views} image is left")
    return table


def read_nih(folder: Path, row_filter: RowFilter) -> FilmTable:
    """Read ChestX-ray14 in its official layout: table, ``images*/`` folders, split lists.

    The table is the first file ``Data_Entry*.csv``. The official split is taken from a column ``Official Split``,
    else from ``train_val_list.txt`` and ``test_list.txt``, else it is left empty.
    """
    tables = sorted(folder.glob("Data_Entry*.csv"))
    if not tables:
        raise StudyError(f"{folder}: no Data_Entry*.csv; expected NIH's official layout")
    rows = read_csv(tables[0], ("Image Index", "Finding Labels", "Patient ID", *row_filter))
    files = {path.name: path for pattern in ("images*/*.png", "images*/images/*.png") for path in folder.glob(pattern)}
    lists: dict[str, str] = {}
    for split, name in (("train", "train_val_list.txt"), ("test", "test_list.txt")):
        if (folder / name).is_file():
            lists |= dict.fromkeys((folder / name).read_text(encoding="utf-8").split(), split)
    films = []
    for line, row in enumerate(rows, start=2):
        if not row_matches(row, row_filter):
            continue
        image, where = row["Image Index"], f"{tables[0].name} line {line}"
        findings = set(row["Finding Labels"].split("|"))
        if unknown := sorted(findings - set(NIH_OBSERVATIONS)):
            raise StudyError(f"{where}: unknown labels {unknown}; known: {NIH_OBSERVATIONS}")
        split = row.get("Official Split") or lists.get(image, "")
        films.append(
            {
                "image": image,
                "path": files.get(image, folder / "images" / image),
                "patient": _patient(row["Patient ID"], where),
                "examination": Path(image).stem,
                "view": (row.get("View Position") or "").strip().upper(),
                "sex": parse_sex(row.get("Patient Sex") or row.get("Patient Gender")),
                "age": parse_age(row.get("Patient Age")),
                "label": [float(name in findings) for name in NIH_OBSERVATIONS],
                "official_split": parse_split(split),
                "source_width": _width(row.get("Source Width") or "0", where),
            }
        )
    return build_table("nih", [_NIH_NAMES.get(name, identifier(name)) for name in NIH_OBSERVATIONS], films)


def _patient(cell: str, where: str) -> str:
    if not cell.strip():
        raise StudyError(f"{where}: no patient; a split by patient needs one")
    return cell.strip()


def _width(cell: str, where: str) -> int:
    if not (cell.isascii() and cell.isdigit()):
        raise StudyError(f"{where}: Source Width is {cell!r}, expected a number of pixels")
    return int(cell)


def read_mapped(folder: Path, mapping: Path, row_filter: RowFilter) -> FilmTable:
    """Read any CSV through a mapping file.

    The mapping is a JSON object::

        {"name": "mine", "table": "films.csv", "image": "file", "patient": "pid", "examination": "accession",
         "view": "view", "sex": "sex", "age": "age", "split": "split",
         "images": "pictures", "patients": "nih", "rows": {"quality": ["good", "fair"]},
         "labels": {"edema": "Edema", "consolidation": {"column": "Grade", "values": {"3": 1, "2": 1, "1": 0}}},
         "values": {"yes": 1, "no": 0, "unsure": -1}, "view_words": {"front": "PA"}, "split_words": {"fold 1": "test"}}

    ``name``, ``table``, ``image``, ``patient`` and ``labels`` are required; the other keys may be absent.
    ``examination``, ``view``, ``sex``, ``age`` and ``split`` name columns. The column ``image`` holds paths below the
    folder, or below its subfolder ``images``. ``patients`` names the data set whose patient identifiers are used; if
    it is absent, that is ``name``. ``rows`` gives for some columns the value, or the list of values, that a row must
    have to be read. ``values`` translates words in label cells; a label may have ``values`` of its own. ``view_words``
    and ``split_words`` translate the words of the columns of views and splits where `film_table.parse_view` and
    `film_table.parse_split` do not know them.
    """
    plan = read_mapping(mapping)
    if not re.fullmatch(r"[^/\\\0.][^/\\\0]{0,99}", plan.name):
        raise StudyError(
            f"{mapping}: name {plan.name!r} becomes part of names of folders: 1 to 100 characters, no / and no \\, and "
            "no point at the beginning"
        )
    films = []
    for line, row in enumerate(read_csv(folder / plan.table, [*plan.columns(), *row_filter]), start=2):
        if not (row_matches(row, plan.rows) and row_matches(row, row_filter)):
            continue
        cell = {key: (row[column] or "").strip() if column else "" for key, column in plan.descriptions.items()}
        where = f"{plan.table} line {line}"
        image = row[plan.image]
        patient = _patient(row[plan.patient], where)
        if not image.strip():
            raise StudyError(f"{where}: no name of an image")
        films.append(
            {
                "image": image,
                "path": folder / plan.images / image,
                "patient": patient,
                "examination": cell["examination"] or image,
                "view": parse_view(plan.view_words.get(cell["view"], cell["view"]), where),
                "sex": parse_sex(cell["sex"]),
                "age": parse_age(cell["age"]),
                "label": plan.label(row, where),
                "official_split": parse_split(plan.split_words.get(cell["split"], cell["split"])),
            }
        )
    return build_table(plan.name, list(plan.labels), films)


DATASETS: dict[str, Callable[[Path, RowFilter], FilmTable]] = {
    "chexpert": read_chexpert,
    "nih": read_nih,
    "csv": lambda folder, row_filter: read_mapped(folder, folder / "mapping.json", row_filter),
}
"""Readers by name; ``csv`` is called with its mapping by `read_dataset`."""
