"""Verification of external tests: their numbers follow from the stored predictions and the labels of the test set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.classifier import Classifier
from xraytransfer.errors import ExportError, ModelFileError
from xraytransfer.export.checks.external_evaluation import evaluate_parts
from xraytransfer.export.checks.localisation import boxed_films, localisation
from xraytransfer.export.checks.predictions_file import external_path, read_external_predictions
from xraytransfer.plural import counted
from xraytransfer.prediction import Prediction
from xraytransfer.study.data.external_test_set import ExternalTestSet, read_external_test_set

__all__ = ["METRIC_TOLERANCE", "largest_difference", "verify_external"]

METRIC_TOLERANCE = 1e-6
"""Allowed difference of a metric; the file of predictions holds nine digits."""
PROBABILITY_TOLERANCE = 0.01
"""Allowed difference of a probability; another processor rounds differently."""


def verify_external(
    classifier: Classifier, mapping: Path, folder: Path, *, again: bool, log: Callable[[str], None]
) -> str:
    """Compute the numbers of an external test again, and compare them with a model's description.

    Parameters
    ----------
    classifier : Classifier
        The model.
    mapping, folder : Path
        Mapping file and folder of the test set.
    again : bool
        Whether its films are scored again, too.
    log : callable
        Takes each line for the user.

    Returns
    -------
    str
        The name of the test.

    Raises
    ------
    ModelFileError
        A number is not what the description says, or a film's answer is not what is stored.
    ExportError
        The model was not tested on this set, or its predictions are absent.
    StudyError
        The test set cannot be read.
    """
    description, films = classifier.description, read_external_test_set(mapping, folder)
    tests = {test["name"]: test for test in description.document.get("external") or []}
    if films.name not in tests:
        known = f"on {', '.join(tests)} alone" if tests else "on no external test set"
        raise ExportError(f"{description.path}: was not tested on {films.name}, but {known}")
    stored = read_external_predictions(external_path(description.path, films.name))
    films = _stored_films(films, list(stored), folder)
    probability = np.array(list(stored.values()))
    count = _compare(description.path, tests[films.name], films, probability)
    log(f"{films.name}: {count} numbers of the card follow from the {counted(len(stored), 'stored prediction')}")
    if again:
        largest = largest_difference(classifier, films.table.path, probability)
        log(f"{films.name}: {counted(len(stored), 'film')} scored again: largest difference {largest:.1e}")
    return films.name


def largest_difference(classifier: Classifier, paths: Sequence[Path], stored: NDArray[np.float64]) -> float:
    """Score films again, and return the largest difference from stored probabilities.

    Parameters
    ----------
    classifier : Classifier
        The model.
    paths : sequence of Path
        The films.
    stored : ndarray
        float64, shape (films, 6), calibrated.

    Raises
    ------
    ModelFileError
        A film is refused, or the difference is larger than `PROBABILITY_TOLERANCE`.
    """
    differences = [0.0]
    outcomes = classifier.predict_many(map(str, paths), any_film=True)
    for path, outcome, expected in zip(paths, outcomes, stored, strict=True):
        if not isinstance(outcome, Prediction):
            raise ModelFileError(f"{path.name}: {outcome.message}")
        differences.append(float(np.abs(outcome.probability - expected).max()))
    largest = float(np.max(differences))  # NaN where one is NaN, which Python's max would pass over
    if not largest <= PROBABILITY_TOLERANCE:
        raise ModelFileError(
            f"{classifier.description.path}: scored again, a probability differs by {largest:.4f} from what is stored "
            f"(allowed {PROBABILITY_TOLERANCE}): other films of the same names, or another model"
        )
    return largest


def _stored_films(films: ExternalTestSet, images: Sequence[str], folder: Path) -> ExternalTestSet:
    """Return the films that were scored, in the order in which they are stored."""
    row_of = {str(image): row for row, image in enumerate(films.table.image)}
    if absent := [image for image in images if image not in row_of]:
        raise ModelFileError(f"{folder}: {counted(len(absent), 'scored film')} not in the table, first {absent[0]}")
    return films.subset(np.array([row_of[image] for image in images], np.intp))


def _compare(path: Path, test: dict[str, Any], films: ExternalTestSet, probability: NDArray[np.float64]) -> int:
    """Compute every number again; return how many they are, or raise ModelFileError where one differs."""
    computed: dict[str, Any] = {"parts": evaluate_parts(films, probability)}
    if (points := test.get("localisation")) is not None:
        maxima = points["maxima"]
        computed["localisation"] = {**localisation(boxed_films(films.boxes, list(maxima)), maxima), "maxima": maxima}
    described = dict(_values({key: test.get(key) for key in computed}))
    again = dict(_values(computed))
    wrong = [key for key in {**described, **again} if not _same(described.get(key), again.get(key))]
    if wrong:
        raise ModelFileError(
            f"{path}: {len(wrong)} of {len(again)} entries of its test on {films.name} cannot be computed from "
            f"{external_path(path, films.name).name} and the labels, first {wrong[0]}"
        )
    return sum(isinstance(value, int | float) for value in again.values())


def _values(entry: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested objects and lists, with its place."""
    if isinstance(entry, dict):
        for key, value in entry.items():
            yield from _values(value, f"{place}/{key}")
    elif isinstance(entry, list):
        for index, value in enumerate(entry):
            yield from _values(value, f"{place}/{index}")
    else:
        yield place, entry


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=0, abs_tol=METRIC_TOLERANCE)
    return bool(one == other)
