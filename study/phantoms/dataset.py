"""A data set of phantoms in CheXpert's own layout: patients, examinations, views, train.csv and valid.csv.

The data set is synthetic, and its folder is named so: ``CheXpert-v1.0-phantoms``. Networks that are trained on it
say nothing about patients. Its purpose is that every command can be tried, and tested, without any data.

Conventions
-----------
Labels are CheXpert's: 1 present, 0 reported as absent, -1 uncertain, blank not mentioned. As in reports, slight
signs are often uncertain, most absent signs are not mentioned, and some present signs are missed. ``valid.csv`` has
neither blanks nor uncertain labels.
Each patient is drawn from ``(seed, number)`` alone, so that more patients do not change the first ones.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from xraytransfer.study.phantoms.drawing import SIGNS, Anatomy, draw_frontal, draw_lateral

__all__ = ["FOLDER", "write_phantoms"]

FOLDER = "CheXpert-v1.0-phantoms"

_COLUMNS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other",
    "Fracture", "Support Devices",
)  # fmt: skip

_NAMES = {
    "atelectasis": "Atelectasis",
    "cardiomegaly": "Cardiomegaly",
    "consolidation": "Consolidation",
    "edema": "Edema",
    "pleural_effusion": "Pleural Effusion",
}

_PREVALENCE = {
    "atelectasis": 0.22,
    "cardiomegaly": 0.20,
    "consolidation": 0.18,
    "edema": 0.20,
    "pleural_effusion": 0.26,
}
"""Of standing patients. At the bedside, where patients are sicker, prevalence is half as high again."""

Row = dict[str, str]


def write_phantoms(parent: Path, *, patients: int = 300, seed: int = 0, size: int = 128, workers: int = 2) -> Path:
    """Write a data set of phantoms.

    Parameters
    ----------
    parent : Path
        Folder in which `FOLDER` is made. Pictures that exist already are written again, with the same content.
    patients : int
        Number of patients, a fifth of them in ``valid.csv``. Each has about 1.7 frontal pictures, and some have
        lateral ones.
    seed : int
        Seed of the patients.
    size : int
        Side of the pictures in pixels.
    workers : int
        Number of threads that draw.

    Returns
    -------
    Path
        The folder, `FOLDER` below the parent.
    """
    folder = parent / FOLDER
    draw = partial(_patient, folder, seed, size)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        rows_by_patient = list(pool.map(draw, range(1, patients + 1)))
    for name in ("train", "valid"):
        rows = [row for patient in rows_by_patient for row in patient if row["Path"].startswith(f"{FOLDER}/{name}/")]
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *_COLUMNS])
            writer.writeheader()
            writer.writerows(rows)
    return folder


def _patient(folder: Path, seed: int, size: int, number: int) -> list[Row]:
    """Draw one patient's pictures and return their rows."""
    generator = np.random.default_rng([seed, number])
    part = "valid" if number % 5 == 0 else "train"
    anatomy = Anatomy.draw(generator)
    sex = "Female" if generator.random() < 0.45 else "Male"
    age = int(np.clip(generator.normal(60, 16), 18, 90))
    rows: list[Row] = []
    for examination in range(1, 2 + int(generator.random() < 0.4)):
        portable = bool(generator.random() < 0.4)
        anatomy = replace(anatomy, side=int(generator.choice((-1, 1))))
        severity = {
            sign: float(generator.uniform(0.25, 1))
            for sign in SIGNS
            if generator.random() < _PREVALENCE[sign] * (1.5 if portable else 1)
        }
        labels = _labels(severity, portable, generator, certain=part == "valid")
        below = Path(part) / f"patient{number:05d}" / f"study{examination}"
        (folder / below).mkdir(parents=True, exist_ok=True)
        frontals = 1 + int(generator.random() < 0.2)
        planes = ["frontal"] * frontals + ["lateral"] * (not portable and generator.random() < 0.4)
        for view, plane in enumerate(planes, start=1):
            if plane == "frontal":
                pixels = draw_frontal(anatomy, severity, generator, size=size, portable=portable)
            else:
                pixels = draw_lateral(anatomy, severity, generator, size=size)
            path = below / f"view{view}_{plane}.jpg"
            Image.fromarray(pixels).save(folder / path, quality=92)
            position = "" if plane == "lateral" else "AP" if portable else "PA"
            rows.append(
                {"Path": f"{FOLDER}/{path.as_posix()}", "Sex": sex, "Age": str(age), "AP/PA": position}
                | {"Frontal/Lateral": plane.capitalize()}
                | labels
            )
    return rows


def _labels(severity: Mapping[str, float], portable: bool, generator: np.random.Generator, *, certain: bool) -> Row:
    """Return the labels that would be read from a report on these signs."""
    present = {_NAMES[sign]: value for sign, value in severity.items()}
    if {"edema", "consolidation", "atelectasis"} & set(severity):
        present["Lung Opacity"] = 1.0
    if not severity:
        present["No Finding"] = 1.0
    if portable:
        present["Support Devices"] = 1.0
    labels = {}
    for column in _COLUMNS:
        chance, strength = generator.random(), present.get(column, 0.0)
        if certain or column in ("No Finding", "Support Devices"):
            labels[column] = "1.0" if strength else "0.0" if certain else ""
        elif strength:
            doubt = 0.5 if strength < 0.4 else 0.05
            labels[column] = "-1.0" if chance < doubt else "" if chance > 0.97 else "1.0"
        else:
            labels[column] = "0.0" if chance < 0.25 else "-1.0" if chance > 0.98 else ""
    return labels
