"""Verification of a model card: its numbers follow from the stored predictions, and these from the films."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.classifier import Classifier
from xraytransfer.errors import ExportError, ModelFileError
from xraytransfer.export.checks.evaluation import corrected_rows, metric_rows
from xraytransfer.export.checks.external_check import METRIC_TOLERANCE, largest_difference, verify_external
from xraytransfer.export.checks.predictions_file import (
    predictions_path,
    read_corrected_labels,
    read_test_predictions,
)
from xraytransfer.model_file import ModelDescription
from xraytransfer.study.data.predictions import Predictions

__all__ = ["verify_metrics"]


def verify_metrics(
    model: str | os.PathLike[str],
    folder: Path | None = None,
    *,
    external: Sequence[tuple[Path, Path]] = (),
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
    external : sequence of (Path, Path)
        Mapping file and folder of external test sets of the model: their numbers are computed again from the stored
        predictions and the labels there. With `folder`, their films are scored again too.
    device : str
        Where films are scored.
    log : callable
        Takes each line for the user.

    Raises
    ------
    ModelFileError
        A number is not what the description says, a film's answer is not what is stored, or a film is absent.
    ExportError
        The model has no stored predictions, is a site's calibrated copy, or was not tested on such a set.
    StudyError
        An external test set cannot be read.
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
    again = folder is not None
    done = [verify_external(classifier, mapping, place, again=again, log=log) for mapping, place in external]
    left = [test["name"] for test in description.document.get("external") or [] if test["name"] not in done]
    if left:
        log(f"not verified, for want of --external MAPPING FOLDER: {', '.join(left)}")


def _compare_metrics(description: ModelDescription, films: Predictions, calibrated: NDArray[np.float64]) -> str:
    """Compute every metric from the stored predictions; return a summary, or raise ModelFileError where one differs."""
    stored = {_key(row): row for row in description.metrics}
    data, *others = dict.fromkeys(str(row["data"]) for row in description.metrics) or ("",)
    computed = metric_rows(data, films, calibrated, np.random.default_rng(0))
    corrected = read_corrected_labels(predictions_path(description.path), description.observations)
    if corrected is not None and others:
        computed += corrected_rows(others[0], films, corrected, calibrated, np.random.default_rng(0))
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
    """Score the test films in a folder; return the largest difference from the stored probabilities."""
    places: dict[str, list[Path]] = {}
    for path in folder.rglob("*"):
        if path.is_file():
            places.setdefault(path.name, []).append(path)
    found = [_place(str(name), places) for name in films.image]
    absent = [str(name) for name, path in zip(films.image, found, strict=True) if path is None]
    if absent:
        raise ModelFileError(
            f"{folder}: {len(absent)} of {len(films.image)} test films are not there, first {absent[0]}"
        )
    return largest_difference(classifier, [path for path in found if path is not None], calibrated)


def _place(name: str, places: dict[str, list[Path]]) -> Path | None:
    """Return where a film lies: its folders tell films of one file name apart, as in CheXpert."""
    here = places.get(name.rpartition("/")[2], [])
    if len(here) == 1:
        return here[0]
    return next((path for path in here if path.as_posix().endswith(f"/{name}")), None)


def _key(row: dict[str, object]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("data", "subset", "observation", "metric"))


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0, abs_tol=METRIC_TOLERANCE)
