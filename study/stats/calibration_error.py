"""How far probabilities are from observed frequencies, and the thresholds that turn them into decisions.

Conventions
-----------
label : float, shape (images,), 1, 0 or NaN (masked).
probability : float, shape (images,), in [0, 1].
A decision is positive where ``probability >= threshold``. A threshold lies midway between two probabilities
that occurred, so that a different rounding on another device does not change a decision.

Metrics
-------
Expected calibration error : mean over bins of |mean probability - share of positives|, weighted by images.
    Bins hold equal numbers of images: with bins of equal width, a rare observation would fill only one of them.
Brier score : mean squared difference of probability and label.
Youden's J : sensitivity + specificity - 1.

References
----------
Naeini, Cooper and Hauskrecht, AAAI 2015. Brier, Monthly Weather Review 78, 1950. Youden, Cancer 3, 1950.
Wilson, Journal of the American Statistical Association 22, 1927 (interval of a share).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytransfer.study.stats import Floats
from xraytransfer.study.stats.auroc import drop_masked

__all__ = [
    "Reliability",
    "brier",
    "expected_calibration_error",
    "reliability_curve",
    "sensitivity_specificity",
    "threshold_at_sensitivity",
    "wilson_interval",
    "youden_threshold",
]


@dataclass(frozen=True, eq=False)
class Reliability:
    """One point per bin, from low to high probability.

    Attributes
    ----------
    probability : ndarray
        float64, shape (bins,): mean probability.
    observed : ndarray
        float64, shape (bins,): share of positives.
    lower, upper : ndarray
        float64, shape (bins,): Wilson's 95 % interval of the share.
    images : ndarray
        int64, shape (bins,).
    """

    probability: Floats
    observed: Floats
    lower: Floats
    upper: Floats
    images: NDArray[np.int64]


def expected_calibration_error(label: ArrayLike, probability: ArrayLike, bins: int = 15) -> float:
    """Return the expected calibration error over bins of equal numbers of images.

    Parameters
    ----------
    label, probability : array_like
        float, shape (images,).
    bins : int
        Largest number of bins; images of equal probability share a bin.

    Returns
    -------
    float
        In [0, 1]; NaN without images.

    Raises
    ------
    ValueError
        A label is neither 0, 1 nor NaN, or a probability is outside [0, 1].
    """
    curve = reliability_curve(label, probability, bins)
    if not curve.images.size:
        return float("nan")
    gaps = np.abs(curve.probability - curve.observed)
    return float(np.average(gaps, weights=curve.images))


def brier(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the Brier score.

    Parameters and errors are those of `expected_calibration_error`.

    Returns
    -------
    float
        In [0, 1], 0 is perfect; NaN without images.
    """
    truth, score = _known(label, probability)
    return float(np.mean((score - truth) ** 2)) if truth.size else float("nan")


def reliability_curve(label: ArrayLike, probability: ArrayLike, bins: int = 10) -> Reliability:
    """Return mean probability against the share of positives, bin by bin.

    Parameters
    ----------
    label, probability : array_like
        float, shape (images,).
    bins : int
        Largest number of bins, with equal numbers of images; images of equal probability share a bin.

    Returns
    -------
    Reliability
        Empty arrays without images.

    Raises
    ------
    ValueError
        As for `expected_calibration_error`, or fewer than one bin.
    """
    if bins < 1:
        raise ValueError(f"at least one bin expected, got {bins}")
    truth, score = _known(label, probability)
    if not truth.size:
        empty = np.empty(0)
        return Reliability(empty, empty, empty, empty, np.empty(0, np.int64))
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
    index = np.unique(np.searchsorted(edges, score, side="right"), return_inverse=True)[1].reshape(-1)
    images = np.bincount(index)
    positives = np.bincount(index, truth)
    lower, upper = wilson_interval(positives, images)
    return Reliability(np.bincount(index, score) / images, positives / images, lower, upper, images)


def wilson_interval(successes: ArrayLike, trials: ArrayLike) -> tuple[Floats, Floats]:
    """Return Wilson's 95 % interval of a share.

    Parameters
    ----------
    successes, trials : array_like
        Not negative, of one shape; trials at least 1.

    Returns
    -------
    tuple of ndarray
        Lower and upper bounds, in [0, 1].
    """
    z = 1.959963984540054
    n = np.asarray(trials, float)
    share = np.asarray(successes, float) / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.clip(centre - reach, 0, 1), np.clip(centre + reach, 0, 1)


def youden_threshold(label: ArrayLike, probability: ArrayLike) -> float:
    """Return the threshold with the largest sensitivity + specificity - 1.

    Parameters and errors are those of `expected_calibration_error`.

    Returns
    -------
    float
        In [0, 1]; where several are equally good, the one with the highest sensitivity. NaN where a class is absent.
    """
    threshold, sensitivity, specificity = _operating_curve(label, probability)
    if not threshold.size:
        return float("nan")
    j = sensitivity + specificity - 1
    return float(threshold[np.flatnonzero(j >= j.max() - 1e-12)[-1]])


def threshold_at_sensitivity(label: ArrayLike, probability: ArrayLike, sensitivity: float) -> float:
    """Return the highest threshold that has at least this sensitivity.

    Parameters
    ----------
    label, probability : array_like
        float, shape (images,).
    sensitivity : float
        Required share of the positives, in (0, 1].

    Returns
    -------
    float
        In [0, 1]; NaN where a class is absent.

    Raises
    ------
    ValueError
        As for `expected_calibration_error`, or the sensitivity is not in (0, 1].
    """
    if not 0 < sensitivity <= 1:
        raise ValueError(f"a sensitivity in (0, 1] expected, got {sensitivity}")
    threshold, reached, _ = _operating_curve(label, probability)
    if not threshold.size:
        return float("nan")
    return float(threshold[np.flatnonzero(reached >= sensitivity - 1e-12)[0]])


def sensitivity_specificity(label: ArrayLike, probability: ArrayLike, threshold: float) -> tuple[float, float]:
    """Return the sensitivity and specificity of a threshold.

    Parameters
    ----------
    label, probability : array_like
        float, shape (images,).
    threshold : float
        An image is positive from here up.

    Returns
    -------
    tuple of float
        Sensitivity and specificity, in [0, 1]; NaN for a class that is absent.

    Raises
    ------
    ValueError
        As for `expected_calibration_error`.
    """
    truth, score = _known(label, probability)
    predicted, positive = score >= threshold, truth == 1
    right_positives, right_negatives = predicted[positive], ~predicted[~positive]
    return (
        float(right_positives.mean()) if right_positives.size else math.nan,
        float(right_negatives.mean()) if right_negatives.size else math.nan,
    )


def _known(label: ArrayLike, probability: ArrayLike) -> tuple[Floats, Floats]:
    """Return labels and probabilities of the images that are not masked, or raise `ValueError`."""
    truth, score = drop_masked(label, probability)
    if not ((score >= 0) & (score <= 1)).all():
        raise ValueError("probabilities must be in [0, 1], after the sigmoid; one is outside or NaN")
    return truth, score


def _operating_curve(label: ArrayLike, probability: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return decreasing thresholds, with sensitivity and specificity at each; empty where a class is absent."""
    truth, score = _known(label, probability)
    positives = truth.sum()
    if positives in (0, len(truth)):
        return np.empty(0), np.empty(0), np.empty(0)
    values, index = np.unique(score, return_inverse=True)
    hits = np.bincount(index.reshape(-1), truth)[::-1]
    images = np.bincount(index.reshape(-1))[::-1]
    below = np.concatenate([values[::-1][1:], [0.0]])
    threshold = (values[::-1] + below) / 2
    sensitivity = np.cumsum(hits) / positives
    specificity = 1 - np.cumsum(images - hits) / (len(truth) - positives)
    return threshold, sensitivity, specificity
