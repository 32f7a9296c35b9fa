"""95 % percentile bootstrap intervals by patient, and paired ones of differences.

Conventions
-----------
Replicates are drawn once, by `resample_patients`, as whole-number weights, and every number of a comparison
is computed on the same draws: so differences are paired, image by image and patient by patient.
patient : any values that sort, shape (images,): pictures of one patient are never independent.
Labels and probabilities are those of `xraytransfer.study.stats.auroc`.

Differences from the paper
--------------------------
The lab's published script draws examinations; we draw patients, because examinations of one patient are
alike. It has no guard for replicates without a positive; we leave those out and count them.

References
----------
Davison and Hinkley, Bootstrap Methods and their Application, 1997, sections 4.2 and 5.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xraytransfer.study.stats.auroc import weighted_auroc

__all__ = [
    "Interval",
    "bootstrap",
    "bootstrap_difference",
    "bootstrap_macro",
    "paired_interval",
    "percentile_interval",
    "resample_patients",
]

Floats = NDArray[np.float64]
Statistic = Callable[[ArrayLike, ArrayLike, ArrayLike], Floats]


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
    """Draw patients with replacement and say how often each image counts in each replicate.

    Parameters
    ----------
    patient : array_like
        Shape (images,).
    replicates : int
        How many draws, usually 1,000.
    generator : numpy.random.Generator
        Source of chance; the same state gives the same draws, on every machine.

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
    # stored image by image: that is how `stats` reads it
    drawn: NDArray[np.uint16] = counts[index.reshape(-1)].T
    return drawn


def percentile_interval(value: float, replicates: ArrayLike, level: float = 0.95) -> Interval:
    """Return the percentile interval of bootstrap replicates, as the paper's: 2.5th and 97.5th.

    Parameters
    ----------
    value : float
        The number on all images.
    replicates : array_like
        float, shape (replicates,); NaN ones are left out and counted.
    level : float
        Coverage, in (0, 1).

    Returns
    -------
    Interval
    """
    drawn = np.asarray(replicates, float)
    defined = drawn[~np.isnan(drawn)]
    lower, upper = float("nan"), float("nan")
    if defined.size and not np.isnan(value):
        lower, upper = (float(q) for q in np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(float(value), lower, upper, drawn.size, drawn.size - defined.size)


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
    whole = float(statistic(label, probability, np.ones((1, len(np.asarray(label)))))[0])
    return percentile_interval(whole, statistic(label, probability, weights))


def bootstrap_macro(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike, statistic: Statistic = weighted_auroc
) -> tuple[Interval, Floats]:
    """Return the macro number with its interval, and the replicates for paired comparisons.

    A replicate in which an observation loses a class has no macro number: a mean over fewer observations
    would be a different quantity. It is left out and counted.

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
    tuple of (Interval, ndarray)
        The interval, and the replicates: float64, shape (replicates,).
    """
    label, probability = np.asarray(labels, float), np.asarray(probabilities, float)
    one = np.ones((1, len(label)))
    whole = np.array([statistic(label[:, k], probability[:, k], one)[0] for k in range(label.shape[1])])
    defined = np.flatnonzero(~np.isnan(whole))
    if not defined.size:
        drawn = np.full(len(np.asarray(weights)), np.nan)
        return percentile_interval(float("nan"), drawn), drawn
    drawn = np.mean([statistic(label[:, k], probability[:, k], weights) for k in defined], axis=0)
    return percentile_interval(float(whole[defined].mean()), drawn), drawn


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
        With ``p``: twice the share of replicates on the far side of 0, counted with one added to both
        numerator and denominator so that it is never 0 (Davison and Hinkley 1997, section 4.2).
    """
    drawn = np.asarray(first, float) - np.asarray(second, float)
    interval = percentile_interval(value, drawn)
    defined = drawn[~np.isnan(drawn)]
    if not defined.size or np.isnan(value):
        return interval
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (defined.size + 1))
    return Interval(interval.value, interval.lower, interval.upper, drawn.size, interval.undefined, p)


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
    weights : array_like
        From `resample_patients`, shape (replicates, images).
    statistic : callable
        `weighted_auroc` or `weighted_auprc`.

    Returns
    -------
    Interval
        With ``p``.
    """
    one, first_drawn = bootstrap_macro(labels, first, weights, statistic)
    two, second_drawn = bootstrap_macro(labels, second, weights, statistic)
    return paired_interval(one.value - two.value, first_drawn, second_drawn)
