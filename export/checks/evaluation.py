"""Metrics of a model file on labelled films: AUROC, AUPRC and calibration by observation and group, and ROC curves.

Conventions
-----------
Intervals are 95 % percentile intervals of bootstrap replicates drawn by patient, the same draws for all
observations. Undefined numbers (a class absent) are None. Groups with fewer than `SMALLEST_GROUP` films are
left out: their intervals would span everything.

Films of equal probability stand on one straight piece of a ROC curve, so that the area under the whole curve is the
AUROC with ties counted half.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.stats.auroc import auroc, weighted_auprc, weighted_auroc
from xraytransfer.study.stats.bootstrap import (
    Interval,
    bootstrap,
    bootstrap_difference,
    bootstrap_macro,
    resample_patients,
)
from xraytransfer.study.stats.calibration_error import brier, expected_calibration_error

__all__ = [
    "POINTS",
    "REPLICATES",
    "SMALLEST_GROUP",
    "auroc_difference",
    "corrected_rows",
    "groups",
    "interval_numbers",
    "metric_rows",
    "number_or_none",
    "roc_points",
    "roc_rows",
]

REPLICATES = 1000
SMALLEST_GROUP = 50
POINTS = 50
"""Points that are kept of a ROC curve: the area under them differs from the AUROC by less than 0.005."""

_AGES = ((0, 40, "age under 40"), (40, 65, "age 40 to 64"), (65, 200, "age 65 and over"))

Floats = NDArray[np.float64]


def groups(films: Predictions) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield (name, mask) of each group large enough: all, by view, sex and age.

    Parameters
    ----------
    films : Predictions
        Whose films; empty views and sexes and NaN ages belong to no group.
    """
    yield "all", np.ones(len(films.image), bool)
    for values, value, name in (
        (films.view, "PA", "PA"),
        (films.view, "AP", "AP"),
        (films.sex, "F", "female"),
        (films.sex, "M", "male"),
    ):
        mask = values == value
        if mask.sum() >= SMALLEST_GROUP:
            yield name, mask
    for low, high, name in _AGES:
        mask = (films.age >= low) & (films.age < high)
        if mask.sum() >= SMALLEST_GROUP:
            yield name, mask


def metric_rows(
    data: str,
    films: Predictions,
    calibrated: Floats,
    generator: np.random.Generator,
    replicates: int = REPLICATES,
) -> list[dict[str, Any]]:
    """Return rows for the model file's ``metrics``.

    Parameters
    ----------
    data : str
        Which set of films, for the reader.
    films : Predictions
        Films, labels, and members' probabilities.
    calibrated : ndarray
        float, shape (films, k): what the file answers as ``probability``.
    generator : numpy.random.Generator
        Draws the replicates.
    replicates : int
        How many.

    Returns
    -------
    list of dict
        As the model file's schema has them. ``ece`` and ``brier`` are of the calibrated probability,
        ``ece_uncalibrated`` of the members' mean.
    """
    rows = []
    for group, mask in groups(films):
        part = films.subset(mask)
        p, label = calibrated[mask], part.label.astype(float)
        weights = resample_patients(part.patient, replicates, generator)
        whole = {"data": data, "subset": group, "patients": len(np.unique(part.patient))}
        for metric, statistic in (("auroc", weighted_auroc), ("auprc", weighted_auprc)):
            macro, _ = bootstrap_macro(label, p, weights, statistic)
            films_count = {"n": len(label), "positives": None}
            rows.append({**whole, "observation": "macro", "metric": metric, **films_count, **interval_numbers(macro)})
            for k, observation in enumerate(films.observations):
                interval = bootstrap(label[:, k], p[:, k], weights, statistic)
                counts = _counts(label[:, k])
                row = {**whole, "observation": str(observation), "metric": metric, **counts}
                rows.append({**row, **interval_numbers(interval)})
        if group == "all":
            rows += _calibration_rows(whole, films, p, label)
    return rows


def corrected_rows(
    data: str, films: Predictions, corrected: NDArray[np.float32], calibrated: Floats, generator: np.random.Generator
) -> list[dict[str, Any]]:
    """Return the AUROC of all films with corrected labels, as `metric_rows` has it.

    Parameters
    ----------
    data, films, calibrated, generator
        As for `metric_rows`.
    corrected : ndarray
        float32, shape (films, k): the labels that take the place of the films' own.
    """
    rows = metric_rows(data, replace(films, label=corrected), calibrated, generator)
    return [row for row in rows if row["subset"] == "all" and row["metric"] == "auroc"]


def auroc_difference(
    films: Predictions, first: Floats, second: Floats, generator: np.random.Generator, replicates: int = REPLICATES
) -> Interval:
    """Return the macro AUROC of `first` minus that of `second`, paired by patient, with its interval.

    Parameters
    ----------
    films : Predictions
        Films and labels.
    first, second : ndarray
        float, shape (films, k).
    generator : numpy.random.Generator
        Draws the replicates.
    replicates : int
        How many.
    """
    weights = resample_patients(films.patient, replicates, generator)
    return bootstrap_difference(films.label, first, second, weights)


def roc_points(label: ArrayLike, probability: ArrayLike) -> tuple[list[float], list[float]]:
    """Return points of the ROC curve from (0, 0) to (1, 1), at most `POINTS`, evenly spread along the curve.

    Parameters
    ----------
    label : array_like
        float, shape (films,): 1, 0 or NaN (masked).
    probability : array_like
        float, shape (films,).

    Returns
    -------
    list of float, list of float
        Shares of false and of true positives; both empty where a class is absent.
    """
    truth, p = np.asarray(label, float), np.asarray(probability, float)
    known = ~np.isnan(truth)
    truth, p = truth[known], p[known]
    positives, negatives = int((truth == 1).sum()), int((truth == 0).sum())
    if not positives or not negatives:
        return [], []
    order = np.argsort(-p, kind="stable")
    called = np.flatnonzero(np.diff(p[order], append=-np.inf))  # the last film of each probability
    right = np.concatenate([[0.0], np.cumsum(truth[order] == 1)[called] / positives])
    wrong = np.concatenate([[0.0], np.cumsum(truth[order] == 0)[called] / negatives])
    way = right + wrong  # rises from 0 to 2
    kept = np.unique(np.searchsorted(way, np.linspace(0, 2, POINTS)).clip(0, len(way) - 1))
    return np.round(wrong[kept], 4).tolist(), np.round(right[kept], 4).tolist()


def roc_rows(films: Predictions, calibrated: np.ndarray[Any, Any], data: str) -> dict[str, Any]:
    """Return the entry ``roc`` of the model file.

    Parameters
    ----------
    films : Predictions
        Labels.
    calibrated : ndarray
        float, shape (films, k).
    data : str
        Which films.

    Returns
    -------
    dict
        ``data``, and for each observation with both classes ``false_positive``, ``true_positive`` (shares),
        ``auroc``, ``n`` and ``positives``.
    """
    rows: dict[str, Any] = {"data": data}
    for k, observation in enumerate(films.observations):
        label = films.label[:, k]
        wrong, right = roc_points(label, calibrated[:, k])
        if wrong:
            rows[str(observation)] = {
                "false_positive": wrong,
                "true_positive": right,
                "auroc": float(auroc(label, calibrated[:, k])),
                "n": int((~np.isnan(label)).sum()),
                "positives": int((label == 1).sum()),
            }
    return rows


def _calibration_rows(
    whole: dict[str, Any], films: Predictions, calibrated: Floats, label: Floats
) -> list[dict[str, Any]]:
    raw = films.ensemble().astype(float)
    rows = []
    for k, observation in enumerate(films.observations):
        row = {**whole, "observation": str(observation), **_counts(label[:, k])}
        numbers = {
            "ece": expected_calibration_error(label[:, k], calibrated[:, k]),
            "ece_uncalibrated": expected_calibration_error(label[:, k], raw[:, k]),
            "brier": brier(label[:, k], calibrated[:, k]),
        }
        rows += [{**row, "metric": metric, "value": number_or_none(value)} for metric, value in numbers.items()]
    return rows


def _counts(label: Floats) -> dict[str, int]:
    return {"n": int((~np.isnan(label)).sum()), "positives": int((label == 1).sum())}


def interval_numbers(interval: Interval) -> dict[str, Any]:
    """Return ``value``, ``lower``, ``upper`` and ``replicates`` of an interval, None for what is not defined."""
    return {
        "value": number_or_none(interval.value),
        "lower": number_or_none(interval.lower),
        "upper": number_or_none(interval.upper),
        "replicates": interval.replicates,
    }


def number_or_none(value: float) -> float | None:
    """Return a number as JSON holds it: None for NaN."""
    return float(value) if math.isfinite(value) else None
