"""DeLong's covariance of AUROCs on the same images, and the paired test; patients may have several images.

Conventions
-----------
label : float, shape (images,), 1, 0 or NaN (masked).
probabilities : float, shape (models, images).
The placement value of an image is the share of the other class that it is ranked correctly against; a tie
counts one half.

Metrics
-------
With one image per patient, the covariance is DeLong's estimate. With ``patient`` given, placement values are
summed within patients first (Obuchowski), because images of one patient are not independent and DeLong's
interval would be too narrow.

References
----------
DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988, 837-845.
Sun and Xu, IEEE Signal Processing Letters 21, 2014, 1389-1393 (placement values from midranks).
Obuchowski, Biometrics 53, 1997, 567-578 (clustered data).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from xraytransfer.study.stats import Floats

__all__ = ["PairedTest", "delong_covariance", "delong_test"]


@dataclass(frozen=True)
class PairedTest:
    """The comparison of two models' AUROCs on the same images.

    Attributes
    ----------
    difference : float
        First AUROC minus second; NaN where a class is too small.
    lower, upper : float
        95 % interval of the difference, from the normal distribution.
    z : float
        The difference over its standard error; 0 where both are 0.
    p : float
        Two-sided.
    """

    difference: float
    lower: float
    upper: float
    z: float
    p: float


def delong_covariance(
    label: ArrayLike, probabilities: ArrayLike, patient: ArrayLike | None = None
) -> tuple[Floats, Floats]:
    """Return the AUROCs of several models on the same images, and their covariance.

    Parameters
    ----------
    label : array_like
        float, shape (images,), 1, 0 or NaN (masked).
    probabilities : array_like
        float, shape (models, images).
    patient : array_like, optional
        Shape (images,). If absent, every image counts as independent.

    Returns
    -------
    tuple of ndarray
        AUROCs, float64, shape (models,), and covariance, float64, shape (models, models); all NaN where
        a class has fewer than two images (or patients).

    Raises
    ------
    ValueError
        The shapes do not fit, or a label is neither 0, 1 nor NaN.
    """
    truth, scores = np.asarray(label, float), np.asarray(probabilities, float)
    if truth.ndim != 1 or scores.ndim != 2 or scores.shape[1] != len(truth):
        raise ValueError(f"(images,) labels and (models, images) expected, got {truth.shape}, {scores.shape}")
    known = ~np.isnan(truth)
    truth, scores = truth[known], scores[:, known]
    if not np.isin(truth, (0.0, 1.0)).all():
        raise ValueError("labels must be 0, 1 or NaN (masked); apply the uncertainty policy first")
    owner = np.arange(len(truth)) if patient is None else _group_numbers(patient)[known]
    positive = truth == 1
    models = len(scores)
    if len(np.unique(owner[positive])) < 2 or len(np.unique(owner[~positive])) < 2:
        return np.full(models, np.nan), np.full((models, models), np.nan)
    return _areas_and_covariance(scores, positive, _group_numbers(owner))


def delong_test(label: ArrayLike, first: ArrayLike, second: ArrayLike, patient: ArrayLike | None = None) -> PairedTest:
    """Return the paired test of two models' AUROCs on the same images.

    Parameters
    ----------
    label, first, second : array_like
        float, shape (images,).
    patient : array_like, optional
        Shape (images,). If absent, every image counts as independent.

    Returns
    -------
    PairedTest
        All NaN where a class is too small.

    Raises
    ------
    ValueError
        As for `delong_covariance`.
    """
    area, covariance = delong_covariance(label, np.stack([np.asarray(first), np.asarray(second)]), patient)
    difference = float(area[0] - area[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if np.isnan(variance):
        nan = float("nan")
        return PairedTest(difference, nan, nan, nan, nan)
    error = float(np.sqrt(max(variance, 0.0)))
    normal = NormalDist()
    # without variance, any difference is infinitely many standard errors from 0
    limit = 0.0 if difference == 0 else float(np.copysign(np.inf, difference))
    z = difference / error if error > 0 else limit
    p = math.erfc(abs(z) / math.sqrt(2))  # 1 - cdf would round to 0 from z = 8.3 on
    reach = normal.inv_cdf(0.975) * error
    return PairedTest(difference, difference - reach, difference + reach, z, p)


def _group_numbers(values: ArrayLike) -> NDArray[np.intp]:
    """Return the number of each value's group, from 0; equal values share a group."""
    return np.unique(np.asarray(values), return_inverse=True)[1].reshape(-1)


def _areas_and_covariance(
    scores: Floats, positive: NDArray[np.bool_], owner: NDArray[np.intp]
) -> tuple[Floats, Floats]:
    """Return AUROCs and Obuchowski's covariance, which is DeLong's where each owner has one image."""
    m, n = int(positive.sum()), int((~positive).sum())
    hit, miss = owner[positive], owner[~positive]
    owners = int(owner.max()) + 1
    has_hit, has_miss = np.bincount(hit, minlength=owners) > 0, np.bincount(miss, minlength=owners) > 0
    over_hits, over_misses = np.empty((len(scores), owners)), np.empty((len(scores), owners))
    area = np.empty(len(scores))
    for row, score in enumerate(scores):
        rank = rankdata(score)
        v10 = (rank[positive] - rankdata(score[positive])) / n
        v01 = 1 - (rank[~positive] - rankdata(score[~positive])) / m
        area[row] = v10.mean()
        over_hits[row] = np.bincount(hit, v10 - area[row], owners)
        over_misses[row] = np.bincount(miss, v01 - area[row], owners)
    i10, i01 = int(has_hit.sum()), int(has_miss.sum())
    s10 = i10 / (i10 - 1) / m * (over_hits @ over_hits.T)
    s01 = i01 / (i01 - 1) / n * (over_misses @ over_misses.T)
    s11 = owners / (owners - 1) * (over_hits @ over_misses.T)
    covariance: Floats = s10 / m + s01 / n + (s11 + s11.T) / (m * n)
    return area, covariance
