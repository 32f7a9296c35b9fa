"""95 % percentile bootstrap intervals by patient, and paired intervals of differences.

Conventions
-----------
Replicates are drawn once, by `resample_patients`, as whole-number weights, and every number of a comparison
is computed on the same draws. Differences are therefore paired, image by image and patient by patient.
patient : any values that sort, shape (images,). Images of one patient are never independent.
Labels and probabilities are those of `xraytransfer.study.stats.auroc`.

Differences from the paper
--------------------------
The lab's published script draws examinations. This module draws patients, because examinations of one patient
are alike. The script has no guard for replicates without a positive; here they are left out and counted.

References
----------
Davison and Hinkley, Bootstrap Methods and their Application, 1997, sections 4.2 and 5.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytransfer.study.stats import Floats
from xraytransfer.study.stats.auroc import weighted_auroc

__all__ = [
    "Interval",
    "Statistic",
    "bootstrap",
    "bootstrap_difference",
    "bootstrap_macro",
    "macro_mean",
    "observation_replicates",
    "paired_interval",
    "percentile_interval",
    "resample_patients",
]

Statistic = Callable[[ArrayLike, ArrayLike, ArrayLike], Floats]
"""`weighted_auroc` or `weighted_auprc`: label, probability and weights to one number for each row of weights."""


@dataclass(frozen=True)
class Interval:
    """A number with its percentile interval.

    Attributes
    ----------
    value : float
        The number on all images; NaN where it is not defined.
    lower, upper : float
        Bounds of the interval; NaN where no replicate is defined.
    replicates : int
        Replicates that were drawn.
    undefined : int
        Replicates left out because the number was not defined in them.
    p : float
        Two-sided bootstrap p of "the number is 0", only for differences; NaN otherwise.
    """

    value: float
    lower: float
    upper: float
    replicates: int
    undefined: int
    p: float = float("nan")


def resample_patients(patient: ArrayLike, replicates: int, generator: np.random.Generator) -> NDArray[np.uint16]:
    """Draw patients with replacement and return how often each image counts in each replicate.

    Parameters
    ----------
    patient : array_like
        Shape (images,).
    replicates : int
        How many draws, usually 1,000.
    generator : numpy.random.Generator
        Source of randomness; the same state gives the same draws on every machine.

    Returns
    -------
    ndarray
        uint16, shape (replicates, images); images of one patient have equal columns.
    """
    _, index = np.unique(np.asarray(patient), return_inverse=True)
    patients = int(index.max()) + 1 if index.size else 0
    counts = np.empty((patients, replicates), np.uint16)
    for replicate in range(replicates):
        counts[:, replicate] = np.bincount(generator.integers(0, patients, patients), minlength=patients)
    # stored image by image, because `auroc` reads it so
    weights: NDArray[np.uint16] = counts[index.reshape(-1)].T
    return weights


def percentile_interval(value: float, replicates: ArrayLike, level: float = 0.95) -> Interval:
    """Return the percentile interval of bootstrap replicates: by default, as in the paper, 2.5th to 97.5th.

    Parameters
    ----------
    value : float
        The number on all images.
    replicates : array_like
        float, shape (replicates,); those that are NaN are left out and counted.
    level : float
        Coverage, in (0, 1).

    Returns
    -------
    Interval
    """
    numbers = np.asarray(replicates, float)
    defined = numbers[~np.isnan(numbers)]
    lower, upper = float("nan"), float("nan")
    if defined.size and not np.isnan(value):
        lower, upper = (float(q) for q in np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(float(value), lower, upper, numbers.size, numbers.size - defined.size)


def bootstrap(
    label: ArrayLike, probability: ArrayLike, weights: ArrayLike, statistic: Statistic = weighted_auroc
) -> Interval:
    """Return a number with its bootstrap interval for one observation.

    Parameters
    ----------
    label, probability : array_like
        As for `auroc`.
    weights : array_like
        From `resample_patients`, shape (replicates, images).
    statistic : callable
        `weighted_auroc` or `weighted_auprc`.

    Returns
    -------
    Interval
    """
    value = float(statistic(label, probability, np.ones((1, len(np.asarray(label)))))[0])
    return percentile_interval(value, statistic(label, probability, weights))


def observation_replicates(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike, statistic: Statistic = weighted_auroc
) -> tuple[Floats, Floats]:
    """Return each observation's number on all images, and in each replicate.

    Parameters
    ----------
    labels, probabilities : array_like
        float, shape (images, observations).
    weights : array_like
        From `resample_patients`, shape (replicates, images).
    statistic : callable
        `weighted_auroc` or `weighted_auprc`.

    Returns
    -------
    tuple of ndarray
        float64, shape (observations,), and float64, shape (replicates, observations); NaN where not defined.
    """
    pairs = list(zip(np.asarray(labels, float).T, np.asarray(probabilities, float).T, strict=True))
    once = np.ones((1, len(np.asarray(labels))))
    value = np.array([statistic(label, probability, once)[0] for label, probability in pairs])
    return value, np.stack([statistic(label, probability, weights) for label, probability in pairs], axis=1)


def macro_mean(value: Floats, replicates: Floats) -> tuple[float, Floats]:
    """Return the mean over the observations that are defined on all images, and its replicates.

    A replicate in which such an observation loses a class has no macro number (NaN): a mean over fewer
    observations would be a different quantity.

    Parameters
    ----------
    value, replicates : ndarray
        From `observation_replicates`.

    Returns
    -------
    tuple of (float, ndarray)
        The mean, and float64, shape (replicates,); NaN where no observation is defined.
    """
    defined = ~np.isnan(value)
    if not defined.any():
        return float("nan"), np.full(len(replicates), np.nan)
    return float(value[defined].mean()), replicates[:, defined].mean(axis=1)


def bootstrap_macro(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike, statistic: Statistic = weighted_auroc
) -> tuple[Interval, Floats]:
    """Return the macro number with its interval, and the replicates for paired comparisons.

    Parameters are those of `observation_replicates`; replicates without a macro number are left out and counted.

    Returns
    -------
    tuple of (Interval, ndarray)
        The interval, and the replicates: float64, shape (replicates,).
    """
    value, replicates = macro_mean(*observation_replicates(labels, probabilities, weights, statistic))
    return percentile_interval(value, replicates), replicates


def paired_interval(value: float, first: ArrayLike, second: ArrayLike) -> Interval:
    """Return the interval of a difference from replicates drawn with the same weights.

    Parameters
    ----------
    value : float
        The difference, first minus second, on all images.
    first, second : array_like
        float, shape (replicates,): replicate by replicate from the same patients.

    Returns
    -------
    Interval
        With ``p``: twice the share of replicates on the far side of 0, with one added to numerator and
        denominator so that it is never 0 (Davison and Hinkley 1997, section 4.2).
    """
    differences = np.asarray(first, float) - np.asarray(second, float)
    interval = percentile_interval(value, differences)
    defined = differences[~np.isnan(differences)]
    if not defined.size or np.isnan(value):
        return interval
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return replace(interval, p=min(1.0, 2 * (tail + 1) / (defined.size + 1)))


def bootstrap_difference(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    weights: ArrayLike,
    statistic: Statistic = weighted_auroc,
) -> Interval:
    """Return the difference of two models' macro numbers on the same images, first minus second.

    Parameters
    ----------
    labels, first, second : array_like
        float, shape (images, observations); row by row the same images.
    weights, statistic
        As for `observation_replicates`.

    Returns
    -------
    Interval
        With ``p``.
    """
    one, one_replicates = bootstrap_macro(labels, first, weights, statistic)
    two, two_replicates = bootstrap_macro(labels, second, weights, statistic)
    return paired_interval(one.value - two.value, one_replicates, two_replicates)
