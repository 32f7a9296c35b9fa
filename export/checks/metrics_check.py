"""The numbers of a model's card, computed again from its test predictions, and those from the films themselves."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.classifier import Classifier
from xraytransfer.errors import ExportError, ModelFileError
from xraytransfer.export.checks.evaluation import metric_rows
from xraytransfer.export.checks.predictions_file import predictions_path, read_test_predictions
from xraytransfer.model_file import ModelDescription
from xraytransfer.prediction import Prediction
from xraytransfer.study.data.predictions import Predictions

__all__ = ["verify_metrics"]

TOLERANCE = 1e-6
"""Of a metric: the file of predictions holds nine digits."""
PROBABILITY_TOLERANCE = 0.01
"""Of a probability that another machine computes: another processor rounds otherwise."""


def verify_metrics(
    model: str | os.PathLike[str],
    folder: Path | None = None,
    *,
    device: str = "auto",
    log: Callable[[str], None] = lambda _: None,
) -> None:
    """Compute a model's metrics again and compare them with its description.

    Parameters
    ----------
    model : path-like
        A model file or a shipped model's name.
    folder : Path, optional
        A folder that holds the test films, at any depth: they are scored again and compared one by one.
    device : str
        Where films are scored.
    log : callable
        Takes each line for the user.

    Raises
    ------
    ModelFileError
        A number is not what the description says, a film's answer is not what is stored, or a film is absent.
    ExportError
        The model has no stored predictions, or is a site's calibrated copy.
    """
    classifier = Classifier(model, device=device)
    description = classifier.description
    if "calibrated_from" in description.document:
        raise ExportError(
            f"{description.path}: is a copy that was calibrated on a site's films, which it does not carry; "
            "verify the metrics of the model that it was made from"
        )
    films, calibrated = read_test_predictions(predictions_path(description.path), description.observations)
    log(_compare_metrics(description, films, calibrated))
    if folder is not None:
        largest = _score_again(classifier, folder, films, calibrated)
        log(f"{len(films.image)} films scored again on {classifier.provider}: largest difference {largest:.1e}")


def _compare_metrics(description: ModelDescription, films: Predictions, calibrated: NDArray[np.float64]) -> str:
    """Compute every metric from the stored predictions; return a sentence on them, or refuse a number that differs."""
    stored = {_key(row): row for row in description.metrics}
    data = str(description.metrics[0]["data"]) if description.metrics else ""
    computed = metric_rows(data, films, calibrated, np.random.default_rng(0))
    wrong = [key for key in (_key(row) for row in computed) if key not in stored]
    for row in computed:
        before = stored.get(_key(row), {})
        for name in ("value", "lower", "upper"):
            if not _same(row.get(name), before.get(name)):
                wrong.append((*_key(row), name))
    if wrong or len(computed) != len(stored):
        raise ModelFileError(
            f"{description.path}: {len(wrong)} of {len(computed)} numbers of its card cannot be computed from "
            f"{predictions_path(description.path).name}, first {' / '.join(wrong[0]) if wrong else 'one is absent'}"
        )
    macro = next(row for row in computed if row["observation"] == "macro" and row["metric"] == "auroc")
    return (
        f"{len(computed)} numbers of the card follow from the {len(films.image)} stored predictions; macro AUROC "
        f"{macro['value']:.3f} [{macro['lower']:.3f}, {macro['upper']:.3f}], {macro['patients']} patients"
    )


def _score_again(classifier: Classifier, folder: Path, films: Predictions, calibrated: NDArray[np.float64]) -> float:
    """Score the test films in a folder; return the largest difference from the stored probabilities, or refuse it."""
    paths = {path.name: path for path in folder.rglob("*") if path.is_file()}
    absent = [name for name in map(str, films.image) if Path(name).name not in paths]
    if absent:
        raise ModelFileError(
            f"{folder}: {len(absent)} of {len(films.image)} test films are not there, first {absent[0]}"
        )
    outcomes = classifier.predict_many((str(paths[Path(str(name)).name]) for name in films.image), any_film=True)
    largest = 0.0
    for name, outcome, expected in zip(films.image, outcomes, calibrated, strict=True):
        if not isinstance(outcome, Prediction):
            raise ModelFileError(f"{name}: {outcome.message}")
        largest = max(largest, float(np.abs(outcome.probability - expected).max()))
    if not largest <= PROBABILITY_TOLERANCE:
        raise ModelFileError(
            f"{classifier.description.path}: scored again, a probability differs by {largest:.4f} from what is stored "
            f"(allowed {PROBABILITY_TOLERANCE}): other films of the same names, or another model"
        )
    return largest


def _key(row: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("data", "subset", "observation", "metric"))


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0, abs_tol=TOLERANCE)
