"""The test predictions: probabilities of every test film, stored beside the model file, from which metrics follow.

Those of an external test hold no labels: whoever has the test set adds them.
"""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import ExportError
from xraytransfer.files import write_bytes
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.predictions import Predictions

__all__ = [
    "external_path",
    "predictions_path",
    "read_corrected_labels",
    "read_external_predictions",
    "read_test_predictions",
    "write_external_predictions",
    "write_test_predictions",
]

_CORRECTED = "_corrected"
_FILM = ("image", "patient", "examination", "view", "sex", "age")


def predictions_path(model: Path) -> Path:
    """Return where a model file's test predictions lie: ``NAME.test.csv`` beside it."""
    return model.with_suffix(".test.csv")


def external_path(model: Path, name: str) -> Path:
    """Return where the predictions of an external test lie: ``NAME.external-TEST.csv`` beside the model file."""
    return model.with_suffix(f".external-{name}.csv")


def write_external_predictions(
    model: Path, name: str, images: NDArray[np.str_], probability: NDArray[np.float64]
) -> Path:
    """Write one line for each film of an external test: its name, and the calibrated probabilities, without labels.

    Parameters
    ----------
    model : Path
        The model file.
    name : str
        Name of the test.
    images : ndarray
        str, shape (films,).
    probability : ndarray
        float, shape (films, 6), calibrated.

    Raises
    ------
    ExportError
        It cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", *(f"{row.identifier}_probability" for row in OBSERVATIONS)])
    for image, row in zip(images, probability, strict=True):
        writer.writerow([image, *(f"{value:.9g}" for value in row)])
    path = external_path(model, name)
    write_bytes(path, text.getvalue().encode(), error=ExportError)
    return path


def read_external_predictions(path: Path) -> dict[str, list[float]]:
    """Return the six probabilities of each film, by its name, as `write_external_predictions` wrote them.

    Raises
    ------
    ExportError
        No such file, or not one of ours.
    """
    if not path.is_file():
        raise ExportError(f"{path}: no such file: it is written beside the model file, and has to stay there")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            columns = [f"{row.identifier}_probability" for row in OBSERVATIONS]
            films = {row["image"]: [float(row[name]) for name in columns] for row in csv.DictReader(stream)}
    except (KeyError, ValueError, TypeError, csv.Error, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: not a file of predictions of an external test ({error})") from error
    if not films:
        raise ExportError(f"{path}: holds no films")
    return films


def write_test_predictions(
    model: Path, films: Predictions, calibrated: NDArray[np.float64], corrected: NDArray[np.float32] | None = None
) -> Path:
    """Write one line for each film: patient, label of each observation, calibrated and raw probability.

    Parameters
    ----------
    model : Path
        The model file.
    films : Predictions
        Films, labels, members' probabilities.
    calibrated : ndarray
        float, shape (films, k): what the file answers as ``probability``.
    corrected : ndarray, optional
        float32, shape (films, k): corrected labels, which get columns of their own.

    Raises
    ------
    ExportError
        It cannot be written.
    """
    names = [str(name) for name in films.observations]
    raw = films.ensemble()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labels = [films.label] if corrected is None else [films.label, corrected]
    columns = [f"{name}{_CORRECTED}" for name in names] if corrected is not None else []
    kinds = ("probability", "raw")
    writer.writerow([*_FILM, *names, *columns, *(f"{name}_{kind}" for kind in kinds for name in names)])
    for index in range(len(films.image)):
        age = float(films.age[index])
        writer.writerow(
            [
                *(str(getattr(films, key)[index]) for key in _FILM[:-1]),
                "" if math.isnan(age) else f"{age:g}",
                *("" if math.isnan(value) else int(value) for label in labels for value in label[index]),
                *(f"{value:.9g}" for value in calibrated[index]),
                *(f"{value:.9g}" for value in raw[index]),
            ]
        )
    path = predictions_path(model)
    write_bytes(path, text.getvalue().encode(), error=ExportError)
    return path


def read_corrected_labels(path: Path, observations: tuple[str, ...]) -> NDArray[np.float32] | None:
    """Read the corrected labels that `write_test_predictions` wrote: float32, shape (films, k); None without any.

    The file is one that `read_test_predictions` has read.
    """
    columns = [f"{name}{_CORRECTED}" for name in observations]
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if not set(columns) <= set(reader.fieldnames or ()):
            return None
        return np.array([[float(row[name] or "nan") for name in columns] for row in reader], np.float32)


def read_test_predictions(path: Path, observations: tuple[str, ...]) -> tuple[Predictions, NDArray[np.float64]]:
    """Read what `write_test_predictions` wrote.

    Returns
    -------
    films : Predictions
        With one member: the uncalibrated mean.
    calibrated : ndarray
        float64, shape (films, k).

    Raises
    ------
    ExportError
        No such file, or not one of ours.
    """
    if not path.is_file():
        raise ExportError(f"{path}: no such file: this model was exported without its test predictions")
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        label, calibrated, raw = (
            np.array([[float(row[f"{name}{suffix}"] or "nan") for name in observations] for row in rows])
            for suffix in ("", "_probability", "_raw")
        )
        film = {key: np.array([row[key] for row in rows]) for key in _FILM[:-1]}
        age = np.array([float(row["age"] or "nan") for row in rows], np.float32)
    except (KeyError, ValueError, csv.Error, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: not a file of test predictions ({error})") from error
    if not rows:
        raise ExportError(f"{path}: holds no films")
    films = Predictions(
        **film,
        age=age,
        observations=np.array(observations),
        label=label.astype(np.float32),
        probability=raw[:, None].astype(np.float32),
        checkpoint_steps=np.array([-1]),
    )
    return films, calibrated
