"""Operating points: thresholds on the calibrated probability, with what they do on labelled films.

Conventions
-----------
A decision is positive where ``probability >= threshold``. Thresholds belong to the films that they were
found on: a hospital with other films needs its own (`xraytransfer calibrate`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xraytransfer.study.stats.calibration_error import (
    sensitivity_specificity,
    threshold_at_sensitivity,
    wilson_interval,
    youden_threshold,
)

__all__ = ["DEFAULT", "SENSITIVITIES", "operating_points"]

DEFAULT = "youden"
SENSITIVITIES = (0.8, 0.9, 0.95)


def operating_points(
    label: ArrayLike,
    probability: ArrayLike,
    observations: Sequence[str],
    sensitivities: Sequence[float] = SENSITIVITIES,
) -> list[dict[str, Any]]:
    """Return rows for the model file: Youden's J and one point for each stated sensitivity.

    Parameters
    ----------
    label : array_like
        float, shape (films, k): 1, 0 or NaN (masked).
    probability : array_like
        float, shape (films, k): calibrated.
    observations : sequence of str
        The k identifiers.
    sensitivities : sequence of float
        In (0, 1].

    Returns
    -------
    list of dict
        Keys ``name, observation, threshold, sensitivity, sensitivity_interval, specificity,
        specificity_interval, n, positives``; numbers are None where a class is absent.
    """
    truth, p = np.asarray(label, float), np.asarray(probability, float)
    rows = []
    for k, observation in enumerate(observations):
        here, there = truth[:, k], p[:, k]
        thresholds = {DEFAULT: youden_threshold(here, there)}
        for sensitivity in sensitivities:
            thresholds[f"sensitivity-{round(100 * sensitivity)}"] = threshold_at_sensitivity(here, there, sensitivity)
        rows += [_row(name, observation, here, there, value) for name, value in thresholds.items()]
    return rows


def _row(
    name: str, observation: str, label: np.ndarray[Any, Any], probability: np.ndarray[Any, Any], threshold: float
) -> dict[str, Any]:
    positives, negatives = int((label == 1).sum()), int((label == 0).sum())
    row: dict[str, Any] = {"name": name, "observation": observation, "n": positives + negatives}
    row["positives"] = positives
    if not math.isfinite(threshold):
        return {**row, "threshold": None, "sensitivity": None, "specificity": None}
    sensitivity, specificity = sensitivity_specificity(label, probability, threshold)
    row["threshold"] = min(1.0, max(0.0, threshold))
    for what, share, count in (("sensitivity", sensitivity, positives), ("specificity", specificity, negatives)):
        lower, upper = wilson_interval([round(share * count)], [count])
        row[what] = share
        row[f"{what}_interval"] = [float(lower[0]), float(upper[0])]
    return row
